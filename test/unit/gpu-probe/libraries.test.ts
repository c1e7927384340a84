/** The stages for cuBLASLt and NCCL, over stand-ins for both: search, declarations, results, and faults that cost one stage. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildStubLibraries } from '../../support/stub-libraries.ts';
import { buildEmulatedProbe, cannotBuild, type ProbeRun, runEmulated } from './emulated-probe.ts';

const constants = {
  'cublas_api.h': { CUBLAS_COMPUTE_32F: 68, CUBLAS_OP_N: 0, CUBLAS_OP_T: 1 },
  'library_types.h': { CUDA_R_32F: 0, CUDA_R_16F: 2, CUDA_R_16BF: 14 },
};

/** A header with one value that differs, one enumerator that is absent, and comments that say otherwise. */
const cublasLtHeader = `
/* CUBLASLT_MATMUL_DESC_TRANSA = 99, */
typedef enum {
  CUBLASLT_MATMUL_DESC_COMPUTE_TYPE = 0,
  CUBLASLT_MATMUL_DESC_TRANSA = 3, // CUBLASLT_MATMUL_DESC_TRANSB = 5
  CUBLASLT_MATMUL_DESC_TRANSB = 4,
  CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
  CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,
  CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE = 26,
  CUBLASLT_MATRIX_LAYOUT_ORDER = 1,
  CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6,
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  CUBLASLT_EPILOGUE_DEFAULT = 1,
  CUBLASLT_EPILOGUE_BIAS = 5,
} values;
typedef struct { uint64_t data[8]; } cublasLtMatmulAlgo_t;
typedef struct {
  cublasLtMatmulAlgo_t algo; /* an algorithm */
  size_t workspaceSize;
} cublasLtMatmulHeuristicResult_t;
int cublasLtCreate(cublasLtHandle_t* handle);
size_t cublasLtGetVersion(void);
int cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, // the descriptor
                             int compute);
`;

describe.skipIf(cannotBuild)('stages for libraries that are opened at run time (needs g++)', () => {
  let folder = '';
  let library = '';

  beforeAll(() => {
    buildEmulatedProbe();
    folder = mkdtempSync(join(tmpdir(), 'quire-gpu-libraries-'));
    mkdirSync(join(folder, 'lib'));
    mkdirSync(join(folder, 'include'));
    library = buildStubLibraries(join(folder, 'lib'));
    writeFileSync(join(folder, 'include', 'cublasLt.h'), cublasLtHeader);
    for (const [file, values] of Object.entries(constants)) {
      const enumerators = Object.entries(values).map(([name, value]) => `${name} = ${value},`);
      writeFileSync(join(folder, 'include', file), `enum { ${enumerators.join('\n')} };`);
    }
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function run(stages: string[], fault = ''): ProbeRun {
    return runEmulated(folder, stages, { QUIRE_CUBLASLT: library, QUIRE_NCCL: library, QUIRE_STUB: fault });
  }
  const lineOf = (result: ProbeRun, what: string) => result.lines.find(line => line.what === what);

  it('checks and times each algorithm that fits', () => {
    const result = run(['cublaslt']);
    expect(result.code).toBe(0);
    expect(lineOf(result, 'library')).toMatchObject({ path: library, version: 130000, missing: '' });
    expect(result.lines.filter(line => line.what === 'bf16 product').map(line => line.rank)).toEqual([0, 2]);
  });

  it('names what differs between its declarations and the header', () => {
    const result = run(['cublaslt']);
    const declarations = lineOf(result, 'declarations');
    expect(declarations?.different).toBe(
      'CUBLASLT_EPILOGUE_BIAS is 5, not 4; parameters of cublasLtMatmulDescCreate is 2, not 3',
    );
    expect(declarations?.absent).toContain('CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT parameters of cublasLtDestroy');
    // 16 constants, and the parameters of cublasLtCreate and cublasLtGetVersion.
    expect(declarations?.same).toBe(18);
    expect(lineOf(result, 'structs')).toMatchObject({ same: false, cublasLtMatmulAlgo_t: 'uint64_t data[8];' });
  });

  it('refuses a wrong product', () => {
    const result = run(['cublaslt'], 'wrong');
    expect(result.code).toBe(1);
    expect(result.lines.find(line => line.error)?.error).toMatch(/^algorithm 0: the product is wrong by/);
  });

  it('sums over one rank', () => {
    const result = run(['nccl']);
    expect(result.code).toBe(0);
    expect(lineOf(result, 'allReduce')).toMatchObject({ ranks: 1, same: true });
  });

  it('goes on after a stage that crashes', () => {
    const result = run(['nccl', 'device'], 'abort');
    expect(result.code).toBe(1);
    expect(result.lines.find(line => line.stage === 'nccl' && line.end)).toMatchObject({ end: 'ended by signal 6' });
    expect(result.lines.find(line => line.stage === 'device' && line.end)).toMatchObject({ end: 'done' });
    expect(result.lines.at(-1)).toMatchObject({ stage: 'probe', unfinished: 'nccl' });
  });

  it('says where it looked for a library that is not there', () => {
    const result = runEmulated(folder, ['nccl'], { QUIRE_NCCL: join(folder, 'absent.so') });
    expect(result.lines[0]?.error).toMatch(/^QUIRE_NCCL names a library that does not open: .*absent\.so/);
  });
});
