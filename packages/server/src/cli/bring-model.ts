import { type EngineConfig, wantedWeights } from '@quire/core';
import { findModel } from '../node/model-folder.ts';
import { describeTransfer } from '../node/transfer-progress.ts';

/**
 * Downloads a model that is named and not on this machine, before a command begins with it, and tells how far that is. Throws as
 * findModel does.
 */
export async function bringModel(config: EngineConfig, model: string, tell: (line: string) => void): Promise<void> {
  const { revision, downloadDir } = config;
  await findModel(model, {
    revision,
    downloadDir,
    weights: wantedWeights(config),
    onDownload: report => tell(`Downloading ${model}: ${describeTransfer(report)}`),
  });
}
