import {
  hasVulkanLoader,
  softwareAdapterEnvironment,
  unpackSoftwareAdapter,
} from '../../packages/server/src/node/software-adapter.ts';

/**
 * Runs before the workers fork, because a process reads LD_LIBRARY_PATH only when it starts. On Linux x64 the tests bring
 * their own adapter, so that results do not depend on the machine; VK_ICD_FILENAMES chooses another one. On other
 * platforms nothing is set, and the adapter of the machine is used.
 */
export default function setup(): void {
  const result = unpackSoftwareAdapter();
  if (result.adapter !== null) {
    const { LD_LIBRARY_PATH, ...rest } = softwareAdapterEnvironment(result.adapter);
    Object.assign(process.env, hasVulkanLoader() ? rest : { ...rest, LD_LIBRARY_PATH });
  } else if (process.platform === 'linux' && process.arch === 'x64') {
    throw new Error(`The tests need an adapter: ${result.reason}.`);
  }
}
