/** What every series of the engine carries. */
export const engineLabels = ['model_name', 'engine'] as const;
export type EngineLabels = Record<(typeof engineLabels)[number], string>;
