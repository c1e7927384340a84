/**
 * Bugs to be seeded one at a time: in `file`, `find` becomes `replace`. Each must make the tests of its room fail; `tests` are those,
 * under test/unit.
 */
const engine = 'packages/core/src/engine/';
const worker = 'packages/core/src/worker/';
const property = ['engine/engine.property.test.ts'];
const beams = ['engine/beam-search.test.ts', ...property];
const hostTier = ['engine/host-tier.test.ts', ...property];
const recovery = ['engine/recovery.test.ts', ...property];
const runAhead = ['engine/run-ahead.test.ts'];
const priority = ['engine/priority.test.ts', ...property];
const forks = ['engine/parallel-sampling.test.ts', ...property];
const drafts = ['engine/speculation.test.ts', 'engine/draft-model.test.ts', ...property];
const device = ['worker/row-writer.test.ts', 'worker/model-runner.test.ts', 'engine/recovery-reference.test.ts'];

/** @type {{ name: string, file: string, find: string, replace: string, tests: string[] }[]} */
export const mutants = [
  // Block manager and prefix cache.
  m(
    'an abort leaks the last block',
    'block-manager',
    'let i = table.length - 1; i >= 0; i--',
    'let i = table.length - 2; i >= 0; i--',
  ),
  m(
    'a hit is not counted as held',
    'block-manager',
    '      this.hold(block);\n      table.push(block);',
    '      table.push(block);',
  ),
  m(
    'a held block stays in the free queue',
    'block-manager',
    'if (this.#refCounts[block]!++ === 0) this.#free.remove(block);',
    'this.#refCounts[block]!++;',
  ),
  m(
    'an evicted block stays findable',
    'block-manager',
    '    const block = this.#free.take();\n    if (this.#cache?.has(block)) this.#cache.remove(block);',
    '    const block = this.#free.take();',
  ),
  m(
    'the fit test forgets blocks that a hit takes',
    'block-manager',
    'for (const block of start.blocks) if (this.#refCounts[block] === 0) free--;',
    '',
  ),
  m('a shared block is not copied', 'block-manager', 'if (copies > 0) this.#copyLast(table);', '', forks),
  m(
    'a copy is made the wrong way round',
    'block-manager',
    'this.#copies.push([from, to]);',
    'this.#copies.push([to, from]);',
    forks,
  ),
  m(
    'a partial block is cached',
    'block-manager',
    'end <= numTokens; end += this.blockSize',
    'end <= numTokens + 1; end += this.blockSize',
  ),
  m(
    'blocks that must not be used stay cached',
    'block-manager',
    '    this.#cache!.remove(block);\n  }\n\n  #releaseSalt',
    '  }\n\n  #releaseSalt',
    ['engine/llm-engine.test.ts', ...property],
  ),
  m('blocks that must not be used are not cleared', 'block-manager', 'this.#zeroBlocks.push(block);', '', [
    'engine/block-manager.test.ts',
    ...property,
  ]),
  m(
    'a fork claims a longer cached front than it shares',
    'block-manager',
    'fork.numCached = isPrefix ? source.numCached : 0;',
    'fork.numCached = source.numCached;',
    ['engine/block-manager.test.ts', ...forks],
  ),
  m(
    'a hit compares the hash alone',
    'prefix-cache',
    'if (this.#parent[block] === prefix && this.#holds(block, tokens, start)) return block;',
    'if (this.#parent[block] === prefix) return block;',
  ),
  m(
    'a hit forgets the prefix',
    'prefix-cache',
    'if (this.#parent[block] === prefix && this.#holds(block, tokens, start)) return block;',
    'if (this.#holds(block, tokens, start)) return block;',
  ),
  m(
    'the salt is ignored',
    'prefix-cache',
    "return salt === '' ? ROOT_PREFIX : (this.#saltPrefixes.get(salt) ?? null);",
    'return ROOT_PREFIX;',
    ['engine/llm-engine.test.ts', 'engine/block-manager.test.ts'],
  ),
  // Scheduler.
  m(
    'a whole prompt may be a hit',
    'table-starts',
    'const reusable = request.computesAll ? 0 : request.numTokens - 1;',
    'const reusable = request.computesAll ? 0 : request.numTokens;',
  ),
  m('the oldest is the victim', 'scheduler', 'return idle < 0 ? this.running.length - 1 : idle;', 'return 0;'),
  m(
    'one who has to wait keeps all after it waiting',
    'scheduler',
    'if (queryLen === 0 || !this.suspects.lets(request)) continue;',
    'if (queryLen === 0 || !this.suspects.lets(request)) break;',
  ),
  m(
    'a victim is lost',
    'scheduler',
    "    request.status = 'preempted';\n    this.waiting.insert(request);\n  }\n\n  /** When nothing else",
    "    request.status = 'preempted';\n  }\n\n  /** When nothing else",
  ),
  m(
    'results of a lost row are taken',
    'running-rows',
    'this.#lastHolder = (this.#lastHolder + 1) & NEVER || 1;',
    'this.#lastHolder = 1;',
  ),
  m('the mask of a lost row counts as sent', 'request', '    this.generation++;', '', [
    'engine/token-constraint.test.ts',
  ]),
  m(
    'of equal ranks the one that comes back is last',
    'request',
    ' || (this.rank === rank && this.arrival < arrival)',
    '',
    priority,
  ),
  m(
    'one row more than there is',
    'scheduler',
    'if (this.#tokenBudget === 0 || this.#freeRows.length === 0) return;',
    'if (this.#tokenBudget === 0) return;',
  ),
  m(
    'the token budget is one too large',
    'scheduler',
    'this.#tokenBudget = this.#limits.maxNumBatchedTokens;',
    'this.#tokenBudget = this.#limits.maxNumBatchedTokens + 1;',
  ),
  m('the sample budget is not spent', 'scheduler', 'this.#sampleBudget -= sampleCount;', ''),
  m(
    'a chunk overlaps the one before',
    'request',
    'const numComputed = this.numComputed + queryLen;',
    'const numComputed = this.numComputed + Math.max(1, queryLen - 1);',
  ),
  m(
    'the last token is sampled beyond the limit',
    'scheduler',
    'if (length >= request.tokenLimit || request.waitsForHost) return 0;',
    'if (length > request.tokenLimit || request.waitsForHost) return 0;',
  ),
  m(
    'a row is given back twice',
    'scheduler',
    '    this.#freeRows.push(request.row);',
    '    this.#freeRows.push(request.row, request.row);',
  ),
  m(
    'who waits is not ranked',
    'request-queue',
    'while (before !== null && request.comesBefore(before)) before = before.before;',
    '',
    priority,
  ),
  m(
    'who runs is not ranked',
    'running-list',
    'while (at > 0 && request.comesBefore(requests[at - 1]!)) at--;',
    '',
    priority,
  ),
  m(
    'rows that need the host run ahead',
    'request',
    'return this.needsHost && (this.numPlaceholders > 0',
    'return this.needsHost && (this.numPlaceholders > 9',
    beams,
  ),
  m(
    'a follower copies what its leader computes in this step',
    'table-starts',
    'return request.lastStep === step ? request.numComputed - request.lastQueryLen : request.numComputed;',
    'return request.numComputed;',
    forks,
  ),
  m(
    'followers never start',
    'scheduler',
    'for (const leader of this.#leaders.splice(0)) this.#admitFollowers(leader);',
    '',
    forks,
  ),
  m(
    'a repeated step writes beyond its blocks',
    'step-repeater',
    'const end = words[at + Field.numComputed]! + appends - 1;',
    'const end = words[at + Field.numComputed]!;',
  ),
  m('steps are repeated while the host must look', 'step-repeater', '|| batch.needsHost ', ''),
  // Decodes.
  m(
    'a decode goes beyond its blocks',
    'decode-scheduler',
    'if (computed >= words[at + Field.decodesUntil]!',
    'if (computed > words[at + Field.decodesUntil]!',
  ),
  m(
    'a decode goes beyond its limit',
    'running-rows',
    'Math.min(capacity, this.words[at + Field.tokenLimit]! - 1);',
    'capacity;',
  ),
  m('blocks that a decode gains are not told', 'decode-scheduler', '    batch.setGrant(i, grantStart);\n', ''),
  m(
    'a batch is kept from when others ran',
    'step-batch',
    'if (this.#filled !== running.version || this.#numFilled < count)',
    'if (this.#numFilled < count)',
  ),
  m(
    'another batch counts as a repeat',
    'scheduler',
    'batch.isRepeat = batch.decodedVersion >= 0 && batch.decodedVersion === this.#lastDecoded;',
    'batch.isRepeat = batch.decodedVersion >= 0;',
  ),
  m('a decode is followed by another owner of its row', 'running-rows', '    this.listeners[row] = null;\n', ''),
  m(
    'an EOS ends nothing',
    'decode-results',
    'if (isEos === 1 && length >= words[at + Field.stopsFrom]!) return false;',
    '',
  ),
  m(
    'a decode takes a sample that is unusable',
    'decode-results',
    '(flags[sample]! & USABLE) !== USABLE || ',
    '',
    runAhead,
  ),
  m(
    'recent tokens are overwritten',
    'decode-results',
    'if (length % RECENT_TOKENS === 0) batch.request(i).keepTokens();',
    '',
    runAhead,
  ),
  m(
    'recent tokens are lost with the row',
    'request',
    '    const { lastToken } = this;\n    this.keepTokens();',
    '    const { lastToken } = this;',
    runAhead,
  ),
  // Host tier.
  m(
    'a block is handed out while it is saved',
    'host-tier',
    '    this.#blocks.hold(block);\n    this.#leaving.add(block);',
    '    this.#leaving.add(block);',
    hostTier,
  ),
  m('a request runs before its blocks are there', 'host-tier', 'request.isLoading = true;', '', hostTier),
  m('a slot is overwritten while it is read', 'host-tier', '      this.#slots.remove(slot + 1);\n', '', hostTier),
  m(
    'the old entry of a slot stays findable',
    'host-tier',
    'if (cache!.has(numBlocks + entry)) cache!.remove(numBlocks + entry);',
    '',
    hostTier,
  ),
  m('a loaded block is cleared', 'host-tier', '      this.#blocks.skipZero(block);\n', '', hostTier),
  // Beams.
  m('a forked beam keeps its old tokens', 'beam-search', 'request.copyTokens(parent, parent.numTokens);', '', beams),
  m(
    'a dropped beam keeps its blocks',
    'beam-search',
    'if (!parents.has(slot)) scheduler.withdraw(this.#group.sequences[slot]!.request);',
    '',
    beams,
  ),
  m(
    'the row keeps the token that it sampled',
    'request',
    'if (this.row !== NO_ROW && this.editStart < 0) this.editStart = this.numTokens;',
    '',
    beams,
  ),
  m(
    'a final EOS counts in the length of a beam',
    'beam-search',
    'request.numTokens + (this.#eos.has(token) ? 0 : 1)',
    'request.numTokens + 1',
    beams,
  ),
  // Speculation.
  m(
    'a draft counts that was not sampled',
    'update-sequence',
    'request.tokens[request.numTokens] === update.result.tokenIds[entry]',
    'true',
    drafts,
  ),
  m(
    'accepted tokens are not told to the row',
    'scheduler',
    'if (numAccepted > 0) request.editStart = request.numTokens - numAccepted;',
    '',
    drafts,
  ),
  m('rows of drafts are not given back', 'draft-scheduler', '    this.#rows.release(request);\n', '', drafts),
  m(
    'blocks of the draft model are not given back',
    'draft-scheduler',
    '    this.#speculator.release?.(request);\n',
    '',
    drafts,
  ),
  m(
    'the draft model reads what it computed of rejected drafts',
    'draft-sequence',
    'Math.min(this.numComputed, this.numKnown, numTokens - 1)',
    'Math.min(this.numComputed, numTokens - 1)',
    drafts,
  ),
  m(
    'the draft model guesses before it has caught up',
    'draft-model',
    'sequence.numMissing > 0 || guessing.length',
    'guessing.length',
    drafts,
  ),
  m(
    'a row of the draft model keeps its rejected drafts',
    'draft-sequence',
    '    this.isStale = true;\n  }\n\n  /** Takes',
    '  }\n\n  /** Takes',
    drafts,
  ),
  m(
    'drafts of a shorter sequence are proposed again',
    'draft-sequence',
    'this.#sampled.length > 0 && this.numKnown === this.request.numTokens',
    'this.#sampled.length > 0',
    drafts,
  ),
  m(
    'drafts go beyond the limit',
    'draft-scheduler',
    'const left = request.tokenLimit - request.numTokens - 1;',
    'const left = request.tokenLimit - request.numTokens;',
    drafts,
  ),
  // Recovery.
  m(
    'what was cached survives the device',
    'llm-engine',
    'this.scheduler = createScheduler(this.host.executor, this.#options.config, blockOptions(this.#options));\n',
    '',
    recovery,
  ),
  m(
    'a request is lost with the device',
    'scheduler',
    '      other.waiting.remove(request);\n      this.waiting.insert(request);',
    '      other.waiting.remove(request);',
    recovery,
  ),
  m('all suspects run at once', 'suspects', 'return request === suspect;', 'return suspect !== undefined;', recovery),
  // Runner.
  w(
    'a repeat reads the ring one step late',
    'result-reader',
    'const first = stepCounter % this.#shape.ringSlots;',
    'const first = (stepCounter + 1) % this.#shape.ringSlots;',
  ),
  w('credit is not raised with the blocks', 'row-writer', 'if (this.#isNew[row] === 0) this.#writeCredit(row);', ''),
  w(
    'an edit keeps the old length',
    'row-writer',
    'this.#lengths[Row.numTokens] = start + tokenIds.length;',
    'this.#lengths[Row.numTokens] = start;',
  ),
  w('noise does not depend on the seed', 'row-record', 'words[Row.seedLow] = Number(sampling.seed & 0xffffffffn);', ''),
  w(
    'the batch of the step before is kept',
    'row-writer',
    'if (this.#sameRecord(at)) continue;',
    'if (at > 0) continue;',
  ),
  w(
    'the runner copies no blocks',
    'model-runner',
    "this.#changeBlocks('copyBlocks', 'blockPairs', step.copies.flat(), 2 * BLOCK_BATCH);",
    '',
  ),
  w(
    'a chunk of a prompt counts as sampled',
    'step-plan',
    'samplesToken[i] = step.sampleCounts[i]! > 0 && computed >= this.#knownTokens[row]! ? 1 : 0;',
    'samplesToken[i] = 1;',
  ),
  w('a failed step leaves the old batch behind', 'row-writer', 'this.#batch.fill(UNKNOWN);', ''),
];

function m(name, stem, find, replace, tests = property) {
  return { name, file: `${engine}${stem}.ts`, find, replace, tests };
}

function w(name, stem, find, replace) {
  return { name, file: `${worker}${stem}.ts`, find, replace, tests: device };
}
