/** Budgets that are lower bounds; the others are upper bounds. */
export const atLeast: string[];
/** The budgets that are not met, by name. */
export function missedOf(budget: Record<string, number>, found: Record<string, number>): string[];
