/** What becomes of the parts of a text that match a pattern, named as in tokenizer.json. */
export type SplitBehavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

export const splitBehaviors: readonly SplitBehavior[] = [
  'Removed',
  'Isolated',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
];

interface Part {
  text: string;
  matches: boolean;
}

/**
 * Splits text at the matches of a global regular expression, as Hugging Face's tokenizers do (`SplitDelimiterBehavior`).
 * `invert` swaps the matches and what lies between them. No part is empty.
 */
export function splitText(text: string, pattern: RegExp, behavior: SplitBehavior, invert = false): string[] {
  const parts = partsOf(text, pattern, invert);
  switch (behavior) {
    case 'Removed':
      return parts.filter(part => !part.matches).map(part => part.text);
    case 'Isolated':
      return parts.map(part => part.text);
    case 'Contiguous':
      return joinWhere(parts, (part, previous) => part.matches === previous.matches);
    case 'MergedWithPrevious':
      return joinWhere(parts, (part, previous) => part.matches && !previous.matches);
    case 'MergedWithNext':
      return joinWhere(parts, (part, previous) => previous.matches && !part.matches);
  }
}

function partsOf(text: string, pattern: RegExp, invert: boolean): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) parts.push({ text: text.slice(end, match.index), matches: invert });
    if (match[0] !== '') parts.push({ text: match[0], matches: !invert });
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), matches: invert });
  return parts;
}

/** Joins each part to the one before it where `joins` says so; a joined part counts as what it began with. */
function joinWhere(parts: readonly Part[], joins: (part: Part, previous: Part) => boolean): string[] {
  const joined: string[] = [];
  parts.forEach((part, i) => {
    if (i > 0 && joins(part, parts[i - 1]!)) joined[joined.length - 1] += part.text;
    else joined.push(part.text);
  });
  return joined;
}
