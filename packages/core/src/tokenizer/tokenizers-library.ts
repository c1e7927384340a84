import * as library from '@huggingface/tokenizers';

/** The parts of @huggingface/tokenizers that are used. (Its own declarations cannot be resolved under NodeNext.) */
interface TokenizersLibrary {
  /** Translates an Oniguruma pattern; `pattern` is null when it is neither a string nor a regular expression. */
  SplitPreTokenizer: new (config: {
    type: 'Split';
    pattern: { String: string } | { Regex: string };
    behavior: 'Isolated';
    invert: false;
  }) => {
    readonly pattern: RegExp | null;
  };
  SequenceDecoder: new (config: {
    type: 'Sequence';
    decoders: readonly unknown[];
  }) => { decode(tokens: readonly string[]): string };
  BertNormalizer: new (config: {
    type: 'BertNormalizer';
    clean_text: boolean;
    handle_chinese_chars: boolean;
    strip_accents: boolean;
    lowercase: boolean;
  }) => { normalize(text: string): string };
}

export const { SplitPreTokenizer, SequenceDecoder, BertNormalizer } = library as unknown as TokenizersLibrary;
