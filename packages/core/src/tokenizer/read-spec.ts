import { ModelFormatError } from '../errors.ts';
import { AddedTokenSet } from './check-added-tokens.ts';
import { checkByteAlphabet, readModel } from './check-model.ts';
import { readPreTokenizers } from './check-pre-tokenizer.ts';
import { readDecoder } from './decoder.ts';
import type { TokenizerFiles } from './files.ts';
import type { JsonFields } from './json-fields.ts';
import { readLegacySpec } from './legacy-files.ts';
import { readNormalizer } from './normalizer.ts';
import { readAffixes } from './post-processor.ts';
import { readSpecialTokens } from './special-tokens.ts';
import type { Affixes, SpecialTokens, TokenizerSpec } from './tokenizer-spec.ts';

/** What `readSpec` learns from a folder. */
export interface FolderSpec {
  readonly spec: TokenizerSpec;
  readonly special: SpecialTokens;
  readonly config: JsonFields;
}

/** Reads and checks the tokenizer of a model folder. Throws ModelFormatError (codes TOKENIZER_*). */
export async function readSpec(files: TokenizerFiles): Promise<FolderSpec> {
  const config = await files.readConfig('tokenizer_config.json');
  const special = readSpecialTokens([config, await files.readConfig('special_tokens_map.json')]);
  if (files.has('tokenizer.json')) return { spec: await readTokenizerJson(files, config, special), special, config };
  if (!files.has('vocab.json') || !files.has('merges.txt')) throw missing(files);
  return { spec: await readLegacy(files, config, special), special, config };
}

async function readTokenizerJson(
  files: TokenizerFiles,
  config: JsonFields,
  special: SpecialTokens,
): Promise<TokenizerSpec> {
  const root = await files.readVocabulary('tokenizer.json');
  const model = readModel(root);
  const preTokenizers = readPreTokenizers(root);
  const decoder = readDecoder(root);
  const normalizer = readNormalizer(root);
  if (model.type === 'BPE' && preTokenizers.at(-1)?.type === 'ByteLevel') checkByteAlphabet(model, root.file);
  const added = new AddedTokenSet(model);
  added.addList(root);
  added.addDecoder(config);
  added.markSpecial(special, config.file);
  const affixes = readAffixes(root, id => added.hasId(id));
  return {
    model,
    preTokenizers,
    decoder,
    normalizer,
    addedTokens: added.tokens,
    affixes: configuredAffixes(config, special, added) ?? affixes,
  };
}

async function readLegacy(files: TokenizerFiles, config: JsonFields, special: SpecialTokens): Promise<TokenizerSpec> {
  const parts = await readLegacySpec(files, config);
  const added = new AddedTokenSet(parts.model);
  added.addDecoder(config);
  added.addFile(await files.readConfig('added_tokens.json'));
  added.markSpecial(special, config.file);
  const affixes = affixesOf(
    added,
    special,
    config.booleanOr('add_bos_token', false),
    config.booleanOr('add_eos_token', false),
  );
  return { ...parts, addedTokens: added.tokens, affixes };
}

/**
 * Llama's and Gemma's tokenizer classes in transformers put `add_bos_token` and `add_eos_token`, where they are given, in the
 * place of the file's post-processor (so do the many models that borrow these classes). Null: the post-processor stands.
 */
function configuredAffixes(config: JsonFields, special: SpecialTokens, added: AddedTokenSet): Affixes | null {
  const name = config.stringOr('tokenizer_class', '');
  if (!/^(Llama|CodeLlama|Gemma)Tokenizer(Fast)?$/.test(name) || !config.has('add_bos_token')) return null;
  return affixesOf(added, special, config.booleanOr('add_bos_token', true), config.booleanOr('add_eos_token', false));
}

function affixesOf(added: AddedTokenSet, special: SpecialTokens, addBos: boolean, addEos: boolean): Affixes {
  const idsOf = (role: string): number[] => {
    const token = special.byRole.get(role);
    const id = token === undefined ? undefined : added.idOf(token);
    return id === undefined ? [] : [id];
  };
  return { prefix: addBos ? idsOf('bos_token') : [], suffix: addEos ? idsOf('eos_token') : [] };
}

function missing(files: TokenizerFiles): ModelFormatError {
  const sentencePiece = [...files.names].find(name => name.endsWith('.model'));
  const expected = 'tokenizer.json, or vocab.json with merges.txt';
  if (sentencePiece !== undefined) {
    const advice = 'Save the tokenizer with Hugging Face tokenizers, which writes a tokenizer.json.';
    return new ModelFormatError('TOKENIZER_SENTENCEPIECE', 'the folder has a SentencePiece model only', {
      file: sentencePiece,
      expected,
      advice,
    });
  }
  const half = ['vocab.json', 'merges.txt'].find(name => files.has(name));
  const details =
    half === undefined
      ? { file: 'tokenizer.json', expected }
      : { file: 'tokenizer.json', expected, found: `${half} alone` };
  return new ModelFormatError('TOKENIZER_MISSING', 'the folder has no tokenizer', details);
}
