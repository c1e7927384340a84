import { parse, type Statement, tokenize } from './runtime.ts';

/** The longest published template has about 30,000 characters. */
const MAX_CHARACTERS = 128 * 1024;
/** The library's lexer takes quadratic time on white space. */
const MAX_WHITE_SPACE = 512;
const MAX_DEPTH = 400;

/** A template that cannot be used at all, whatever the messages. The message says why. */
export class TemplateSyntaxError extends Error {
  override readonly name = 'TemplateSyntaxError';
}

/** A chat template, parsed. */
export class ChatTemplate {
  readonly source: string;
  readonly program: Statement;
  /** Texts of the template that may reach the output. */
  readonly literals: readonly string[];
  /** Names of variables, members and filters, and literals that look like one. */
  readonly names: ReadonlySet<string>;

  constructor(source: string) {
    if (source.length > MAX_CHARACTERS)
      throw new TemplateSyntaxError(`it has ${source.length} characters; at most ${MAX_CHARACTERS} are read`);
    if (new RegExp(`\\s{${MAX_WHITE_SPACE + 1}}`).test(source)) {
      throw new TemplateSyntaxError(`it has more than ${MAX_WHITE_SPACE} white-space characters in a row`);
    }
    this.source = source;
    this.program = parseTemplate(source);
    const { literals, names } = collectTexts(this.program);
    this.literals = literals;
    this.names = new Set([...names, ...literals.filter(text => /^\w+$/.test(text))]);
  }
}

function parseTemplate(source: string): Statement {
  try {
    return parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  } catch (error) {
    if (error instanceof RangeError) throw new TemplateSyntaxError('it is nested too deep');
    // The parser reads past the end of a template that stops in the middle of a block.
    if (error instanceof TypeError) throw new TemplateSyntaxError('a block or an expression in it is not closed');
    throw new TemplateSyntaxError(error instanceof Error ? error.message : String(error));
  }
}

/** The string literals and names of a syntax tree. Throws TemplateSyntaxError when it is too deep to be evaluated. */
function collectTexts(root: Statement): { literals: string[]; names: string[] } {
  const literals: string[] = [];
  const names: string[] = [];
  const visit = (node: unknown, depth: number): void => {
    if (typeof node !== 'object' || node === null) return;
    if (depth > MAX_DEPTH) throw new TemplateSyntaxError('it is nested too deep');
    if (node instanceof Map) for (const [key, value] of node) visit([key, value], depth + 1);
    else if (Array.isArray(node)) for (const item of node) visit(item, depth);
    else {
      if ('type' in node && node.type === 'StringLiteral' && 'value' in node) literals.push(String(node.value));
      if ('type' in node && node.type === 'Identifier' && 'value' in node) names.push(String(node.value));
      for (const child of Object.values(node)) visit(child, depth + 1);
    }
  };
  visit(root, 0);
  return { literals, names };
}
