/** Ranks in processes of their own: the launchers' variables, and how the ranks meet and learn of a death. */
import { connect, createServer } from 'node:net';
import { hostname } from 'node:os';
import { describe, expect, it } from 'vitest';
import { placeOfProcess } from '../../packages/server/src/ranks/launch.ts';
import { type Environment, LauncherError, rankPlace } from '../../packages/server/src/ranks/launcher.ts';
import { type Meeting, meetRanks, RankLostError } from '../../packages/server/src/ranks/meeting.ts';
import { decodeMessage, encodeMessage } from '../../packages/server/src/ranks/messages.ts';
import { freePort } from '../support/rank-processes.ts';

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
    [{ ...torchrun, TORCHELASTIC_USE_AGENT_STORE: 'True' }, 'torchrun', 5, 8, 1, 'node0', 1235],
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
    const isOnePerMachine = launcher === 'LeaderWorkerSet';
    const place = { launcher, rank, size, localRank, isOnePerMachine, leader: { host, port } };
    expect(rankPlace(environment)).toEqual(place);
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

describe('the place of a process', () => {
  const torchrun = { RANK: '1', WORLD_SIZE: '4', LOCAL_RANK: '1', MASTER_ADDR: 'node0' };
  const lws = { LWS_WORKER_INDEX: '1', LWS_GROUP_SIZE: '2', LWS_LEADER_ADDRESS: 'quire-0.quire' };
  const four = { tensorParallelSize: 2, pipelineParallelSize: 2 };

  it('is one where there are as many processes as ranks', () => {
    expect(placeOfProcess(four, torchrun)).toMatchObject({ rank: 1, size: 4, localRank: 1, numLocal: 1 });
    expect(placeOfProcess({ ...four, distributedExecutorBackend: 'external_launcher' }, torchrun)).not.toBeNull();
  });

  it('is that of the first of several ranks on a machine that has one process', () => {
    expect(placeOfProcess(four, lws)).toMatchObject({ rank: 2, size: 4, localRank: 0, numLocal: 2 });
    expect(placeOfProcess({ tensorParallelSize: 2 }, lws)).toMatchObject({ rank: 1, size: 2, numLocal: 1 });
  });

  it('is none without a launcher, with one device, and where ranks are threads', () => {
    expect(placeOfProcess(four, {})).toBeNull();
    expect(placeOfProcess({}, torchrun)).toBeNull();
    expect(placeOfProcess(four, { ...torchrun, RANK: '0', WORLD_SIZE: '1', LOCAL_RANK: '0' })).toBeNull();
    expect(placeOfProcess({ ...four, distributedExecutorBackend: 'uni' }, torchrun)).toBeNull();
  });

  it.each<[object, Environment, string]>([
    [{ tensorParallelSize: 2 }, torchrun, 'is 2, but torchrun has started 4 processes: start one per rank'],
    [{ tensorParallelSize: 8 }, torchrun, 'is 8, but torchrun has started 4 processes'],
    [{ tensorParallelSize: 3 }, lws, 'is 3, but LeaderWorkerSet has started 2 processes'],
    [{ tensorParallelSize: 2, distributedExecutorBackend: 'external_launcher' }, {}, 'but found no variables of one'],
  ])('%j is refused under %j', (options, environment, message) => {
    expect(() => placeOfProcess(options, environment)).toThrow(message);
  });
});

describe('a meeting', () => {
  const quick = { beat: 20, silence: 60_000, joinTimeout: 60_000 };
  const card = { Quire: '1.2.3', dtype: 'auto' };
  const here = hostname();

  async function meet(size: number, options = quick): Promise<{ meetings: Meeting[]; port: number }> {
    const port = await freePort();
    const leader = { host: '127.0.0.1', port };
    // Rank 0 comes last.
    const ranks = Array.from({ length: size }, (_, i) => size - 1 - i);
    const meetings = await Promise.all(ranks.map(rank => meetRanks({ rank, size, leader }, card, options)));
    return { meetings: meetings.reverse(), port };
  }

  it('is of one rank alone where there is one', async () => {
    const { meetings } = await meet(1);
    expect(meetings[0]!.peers.size).toBe(0);
    meetings[0]!.close();
  });

  it('carries messages in order, also those that come before anybody listens, and large ones', async () => {
    const { meetings } = await meet(3);
    const sizes = [0, 1, 5, 70_000, 3_000_000, 2];
    for (const size of sizes) meetings[0]!.peers.get(2)!.send(new Uint8Array(size).fill(size % 251));
    const answer = new Promise<Buffer>(resolve => meetings[0]!.peers.get(1)!.listen(resolve));
    meetings[1]!.peers.get(0)!.send(Buffer.from('here'));
    expect((await answer).toString()).toBe('here');
    const received = await new Promise<Buffer[]>(resolve => {
      const messages: Buffer[] = [];
      meetings[2]!.peers.get(0)!.listen(message => {
        messages.push(Buffer.from(message));
        if (messages.length === sizes.length) resolve(messages);
      });
    });
    expect(received.map(({ length }) => length)).toEqual(sizes);
    expect(received.every(message => message.every(byte => byte === message.length % 251))).toBe(true);
    for (const meeting of meetings) meeting.close();
  });

  it('tells every rank of one that is gone', async () => {
    const { meetings } = await meet(4);
    meetings[2]!.close();
    for (const rank of [0, 1, 3]) {
      const error = await meetings[rank]!.lost;
      expect(error).toBeInstanceOf(RankLostError);
      expect([error.rank, error.message]).toEqual([
        2,
        `Rank 2 of 4 on ${here} is gone: it closed its connection. Start the group again.`,
      ]);
    }
  });

  it('tells the others when rank 0 has finished, why it has failed, or that it is gone', async () => {
    const done = await meet(3);
    done.meetings[0]!.close();
    await Promise.all([done.meetings[1]!.over, done.meetings[2]!.over]);
    const failed = await meet(3);
    failed.meetings[0]!.fail('Rank 0 has no memory.');
    for (const rank of [1, 2]) expect((await failed.meetings[rank]!.lost).message).toBe('Rank 0 has no memory.');
    const leader = { host: '127.0.0.1', port: await freePort() };
    const server = createServer(socket => setTimeout(() => socket.destroy(), 50)).listen(leader.port);
    await expect(meetRanks({ rank: 1, size: 2, leader }, card, quick)).rejects.toThrow(
      'Rank 0 of 2 on 127.0.0.1 is gone: it closed its connection.',
    );
    server.close();
  });

  it('ends where a rank falls silent', async () => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const opening = meetRanks({ rank: 0, size: 2, leader }, card, { ...quick, silence: 1000 });
    const socket = connect(leader, () => socket.write(hello(1, 2, card)));
    const meeting = await opening;
    const error = await meeting.lost;
    expect(error.message).toBe('Rank 1 of 2 on a-host is gone: it was silent for 1000 ms. Start the group again.');
    socket.destroy();
  });

  it('ends where a rank sends more than a frame may hold, or no frames', async () => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const opening = meetRanks({ rank: 0, size: 2, leader }, card, quick);
    const socket = connect(leader, () => socket.write(hello(1, 2, card)));
    const meeting = await opening;
    socket.write(Buffer.of(6, 255, 255, 255, 255));
    expect((await meeting.lost).message).toContain('it sent a frame of 4294967295 bytes, expected at most');
  });

  it('names the ranks that do not come', async () => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const options = { ...quick, joinTimeout: 300 };
    await expect(meetRanks({ rank: 0, size: 3, leader }, card, options)).rejects.toThrow(
      'found no rank 1, 2 of 3 within 300 ms',
    );
    await expect(meetRanks({ rank: 1, size: 2, leader }, card, options)).rejects.toThrow(
      `Rank 0 was not reached at 127.0.0.1:${leader.port} within 300 ms`,
    );
  });

  it('refuses ranks of other groups, says so, and goes on', async () => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const refused: string[] = [];
    const opening = meetRanks({ rank: 0, size: 2, leader }, card, { ...quick, onRefused: why => refused.push(why) });
    const join = (rank: number, size: number) => meetRanks({ rank, size, leader }, card, quick);
    await expect(join(1, 3)).rejects.toThrow(
      `Rank 0 on 127.0.0.1 refused rank 1: found a rank of a group of 3 on ${here}, expected 2.`,
    );
    await expect(join(2, 2)).rejects.toThrow(`found rank 2 on ${here}, expected 1 .. 1`);
    const stranger = connect(leader, () => stranger.write('GET / HTTP/1.1\r\n\r\n'));
    const member = await join(1, 2);
    const meeting = await opening;
    expect(refused).toHaveLength(2);
    meeting.close();
    member.close();
    stranger.destroy();
  });

  it.each([
    [{ ...card, Quire: '1.2.4' }, 'Quire 1.2.4, expected 1.2.3'],
    [{ Quire: '1.2.3' }, 'dtype none, expected auto'],
    [{ ...card, "the model's config.json": 'x' }, "the model's config.json x, expected none"],
  ])('does not take place where a rank has %j', async (theirs, difference) => {
    const leader = { host: '127.0.0.1', port: await freePort() };
    const ranks = [
      meetRanks({ rank: 0, size: 2, leader }, card, quick),
      meetRanks({ rank: 1, size: 2, leader }, theirs as Record<string, string>, quick),
    ];
    const errors = await Promise.all(ranks.map(rank => rank.catch((error: Error) => error)));
    const message = `Rank 1 of 2 on ${here} does not fit: found ${difference} as on rank 0 on ${here}.`;
    for (const error of errors) expect(error).toMatchObject({ rank: 1, message: expect.stringContaining(message) });
  });
});

describe('messages', () => {
  it('hold what a device is asked and answers', () => {
    const shared = new Float32Array(new SharedArrayBuffer(12));
    shared.set([1.5, Number.NaN, -0]);
    const message = {
      command: { kind: 'write', tensor: 3, data: shared, offset: 0 },
      sizes: [Number.POSITIVE_INFINITY, -1e300, 7],
      arrays: [Uint8Array.of(1, 2, 3), Uint32Array.of(2 ** 32 - 1), new Int32Array(0), Uint16Array.of(65_535)],
      text: 'ünï',
      none: null,
    };
    const copy = new Float32Array([1.5, Number.NaN, -0]);
    expect(decodeMessage(encodeMessage(message))).toEqual({ ...message, command: { ...message.command, data: copy } });
  });

  it('are refused when they are cut short, or hold what has no form', () => {
    const bytes = encodeMessage({ data: Uint32Array.of(1, 2, 3) });
    expect(() => decodeMessage(bytes.subarray(0, bytes.length - 1))).toThrow('ends before its arrays');
    expect(() => decodeMessage(bytes.subarray(0, 9))).toThrow(SyntaxError);
    expect(() => encodeMessage({ data: new BigInt64Array(1) })).toThrow('cannot hold a BigInt64Array');
  });
});

function hello(rank: number, size: number, card: object): Buffer {
  const content = Buffer.from(JSON.stringify({ magic: 'quire ranks 2', rank, size, host: 'a-host', card }));
  const frame = Buffer.alloc(5);
  frame.writeUInt8(1, 0);
  frame.writeUInt32BE(content.length, 1);
  return Buffer.concat([frame, content]);
}
