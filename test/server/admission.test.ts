/** Who waits, who has a place, and who is refused. */
import { expect, it } from 'vitest';
import { Admission } from '../../packages/server/src/app/admission.ts';

const engineOf = (numRunning: number, numPlaces: number) => ({ numRunning, numPlaces });
const full = expect.objectContaining({ status: 429, code: 'queue_full' });

it('lets in what has a row, and as many more as may wait', () => {
  const admission = new Admission(2, engineOf(0, 3));
  for (let i = 0; i < 5; i++) {
    admission.checkRoom();
    admission.admit(1);
  }
  expect(admission.isFull).toBe(true);
  expect(() => admission.checkRoom()).toThrow(full);
  expect(() => admission.admit(1)).toThrow(full);
});

it('counts those that run once, and those whose rows have no blocks as waiting', () => {
  const engine = engineOf(0, 3);
  const admission = new Admission(2, engine);
  const releases = [1, 1, 1].map(sequences => admission.admit(sequences));
  Object.assign(engine, engineOf(1, 0));
  expect(() => admission.admit(1)).toThrow(full);
  Object.assign(engine, engineOf(1, 2));
  releases.push(admission.admit(2));
  expect(() => admission.admit(1)).toThrow(full);
  for (const release of releases) release();
  expect(admission.admitted).toBe(0);
});

it('counts requests that have come and not begun', () => {
  const admission = new Admission(2, engineOf(0, 1));
  const begins = [1, 2, 3].map(() => admission.arrive());
  expect(admission.isFull).toBe(true);
  for (const begin of begins) {
    begin();
    admission.admit(1);
  }
  expect(admission.admitted).toBe(3);
  expect(admission.isFull).toBe(true);
});
