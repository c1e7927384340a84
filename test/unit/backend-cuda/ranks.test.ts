/** Ranks in processes of their own: the launchers' variables, and how the ranks meet and learn of a death. */
import { connect, createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type Environment, LauncherError, rankPlace } from '../../../packages/backend-cuda/src/ranks/launcher.ts';
import { type Meeting, meetRanks, RankLostError } from '../../../packages/backend-cuda/src/ranks/meeting.ts';

describe('launchers', () => {
  const torchrun = { RANK: '5', WORLD_SIZE: '8', LOCAL_RANK: '1', MASTER_ADDR: 'node0', MASTER_PORT: '1234' };
  const slurm = { SLURM_STEP_ID: '0', SLURM_PROCID: '2', SLURM_NTASKS: '4', SLURM_LOCALID: '0', MASTER_ADDR: 'node7' };
  const mpi = {
    OMPI_COMM_WORLD_RANK: '1',
    OMPI_COMM_WORLD_SIZE: '2',
    OMPI_COMM_WORLD_LOCAL_RANK: '1',
    MASTER_ADDR: '10.0.0.1',
  };
  const lws = { LWS_WORKER_INDEX: '3', LWS_GROUP_SIZE: '4', LWS_LEADER_ADDRESS: 'quire-0.quire' };

  it.each<[Environment, string, number, number, number, string, number]>([
    [torchrun, 'torchrun', 5, 8, 1, 'node0', 1234],
    [{ ...slurm, ...torchrun }, 'torchrun', 5, 8, 1, 'node0', 1234],
    [slurm, 'srun', 2, 4, 0, 'node7', 29500],
    [mpi, 'mpirun', 1, 2, 1, '10.0.0.1', 29500],
    [{ ...slurm, ...mpi }, 'mpirun', 1, 2, 1, '10.0.0.1', 29500],
    [lws, 'LeaderWorkerSet', 3, 4, 0, 'quire-0.quire', 29500],
    [
      { OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1', OMPI_COMM_WORLD_LOCAL_RANK: '0' },
      'mpirun',
      0,
      1,
      0,
      '127.0.0.1',
      29500,
    ],
  ])('%j', (environment, launcher, rank, size, localRank, host, port) => {
    expect(rankPlace(environment)).toEqual({ launcher, rank, size, localRank, leader: { host, port } });
  });

  it('is none without variables, and in the batch script of a Slurm job', () => {
    expect(rankPlace({})).toBeNull();
    expect(rankPlace({ RANK: '0', MASTER_PORT: 'x' })).toBeNull();
    expect(rankPlace({ ...slurm, SLURM_STEP_ID: undefined })).toBeNull();
    expect(rankPlace({ ...slurm, SLURM_STEP_ID: '4294967291' })).toBeNull();
  });

  it.each<[Environment, string, string]>([
    [{ ...torchrun, RANK: '8' }, 'RANK', 'torchrun: found RANK=8, expected an integer from 0 to 7.'],
    [{ ...torchrun, RANK: undefined }, 'RANK', 'torchrun: found no RANK, expected an integer from 0 to 7.'],
    [{ ...torchrun, WORLD_SIZE: '0' }, 'WORLD_SIZE', 'found WORLD_SIZE=0, expected an integer from 1 to 65535.'],
    [{ ...torchrun, MASTER_PORT: '99999' }, 'MASTER_PORT', 'found MASTER_PORT=99999'],
    [{ ...torchrun, MASTER_ADDR: '' }, 'MASTER_ADDR', "expected the host name or address of rank 0's machine."],
    [{ ...slurm, MASTER_ADDR: undefined }, 'MASTER_ADDR', 'srun: found no MASTER_ADDR'],
    [{ ...lws, LWS_GROUP_SIZE: '-1' }, 'LWS_GROUP_SIZE', 'found LWS_GROUP_SIZE=-1'],
  ])('%j names %s', (environment, variable, message) => {
    const place = () => rankPlace(environment);
    expect(place).toThrow(LauncherError);
    expect(place).toThrow(expect.objectContaining({ variable, message: expect.stringContaining(message) }));
  });
});

describe('a meeting', () => {
  const quick = { beat: 20, silence: 1000, joinTimeout: 20_000 };
  const data = Uint8Array.from({ length: 128 }, (_, i) => i);

  async function meet(size: number, options = quick): Promise<{ meetings: Meeting[]; port: number }> {
    const port = await freePort();
    const leader = { host: '127.0.0.1', port };
    // Rank 0 comes last.
    const ranks = Array.from({ length: size }, (_, i) => size - 1 - i);
    const meetings = await Promise.all(ranks.map(rank => meetRanks({ rank, size, leader }, () => data, options)));
    return { meetings: meetings.reverse(), port };
  }

  it('hands the data of rank 0 to all', async () => {
    const { meetings } = await meet(4);
    for (const meeting of meetings) expect(meeting.data).toEqual(data);
    for (const meeting of meetings) meeting.close();
  });

  it('is of one rank alone where there is one', async () => {
    const { meetings } = await meet(1);
    expect(meetings[0]!.data).toEqual(data);
    meetings[0]!.close();
  });

  it('tells every rank of one that is gone', async () => {
    const { meetings } = await meet(4);
    meetings[2]!.close();
    for (const rank of [0, 1, 3]) {
      const error = await meetings[rank]!.lost;
      expect(error).toBeInstanceOf(RankLostError);
      expect([error.rank, error.message]).toEqual([
        2,
        'Rank 2 of 4 is gone: it closed its connection. Start the group again.',
      ]);
    }
  });

  it('tells every rank when rank 0 is gone', async () => {
    const { meetings } = await meet(3);
    meetings[0]!.close();
    for (const rank of [1, 2]) expect((await meetings[rank]!.lost).rank).toBe(0);
  });

  it('ends where a rank falls silent', async () => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const opening = meetRanks({ rank: 0, size: 2, leader }, () => data, { ...quick, silence: 200 });
    const socket = connect(leader, () => socket.write(hello(1, 2)));
    const meeting = await opening;
    const error = await meeting.lost;
    expect(error.message).toBe('Rank 1 of 2 is gone: it was silent for 200 ms. Start the group again.');
    socket.destroy();
  });

  it('names the ranks that do not come', async () => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const options = { ...quick, joinTimeout: 300 };
    await expect(meetRanks({ rank: 0, size: 3, leader }, () => data, options)).rejects.toThrow(
      'found no rank 1, 2 of 3 within 300 ms',
    );
    await expect(meetRanks({ rank: 1, size: 2, leader }, () => data, options)).rejects.toThrow(
      `Rank 0 was not reached at 127.0.0.1:${leader.port} within 300 ms`,
    );
  });

  it('refuses ranks of other groups, and goes on', async () => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const opening = meetRanks({ rank: 0, size: 2, leader }, () => data, quick);
    const join = (rank: number, size: number) => meetRanks({ rank, size, leader }, () => data, quick);
    await expect(join(1, 3)).rejects.toThrow('Rank 0 refused rank 1: found a rank of a group of 3, expected 2.');
    await expect(join(2, 2)).rejects.toThrow('found rank 2, expected 1 .. 1');
    const stranger = connect(leader, () => stranger.write('GET / HTTP/1.1\r\n\r\n'));
    const member = await join(1, 2);
    const meeting = await opening;
    meeting.close();
    member.close();
    stranger.destroy();
  });
});

function hello(rank: number, size: number): Buffer {
  const frame = Buffer.alloc(17);
  frame.writeUInt8(1, 0);
  for (const [i, word] of [12, 0x51_55_49_52, rank, size].entries()) frame.writeUInt32BE(word, 1 + 4 * i);
  return frame;
}

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
