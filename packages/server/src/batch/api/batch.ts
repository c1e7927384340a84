import type { LineError } from '../batch-error.ts';

export type BatchStatus =
  | 'validating'
  | 'failed'
  | 'in_progress'
  | 'finalizing'
  | 'completed'
  | 'expired'
  | 'cancelling'
  | 'cancelled';

/** OpenAI's batch object. Times are Unix seconds. */
export interface Batch {
  id: string;
  object: 'batch';
  endpoint: string;
  errors: { object: 'list'; data: LineError[] } | null;
  input_file_id: string;
  completion_window: string;
  status: BatchStatus;
  output_file_id: string | null;
  error_file_id: string | null;
  created_at: number;
  in_progress_at: number | null;
  expires_at: number;
  finalizing_at: number | null;
  completed_at: number | null;
  failed_at: number | null;
  expired_at: number | null;
  cancelling_at: number | null;
  cancelled_at: number | null;
  request_counts: { total: number; completed: number; failed: number };
  metadata: Record<string, string> | null;
}

/** A batch, and what the server keeps beside it. */
export interface BatchRecord {
  readonly batch: Batch;
  /** The files that its outputs become: chosen first, so that doing it twice does no harm. */
  readonly outputId: string;
  readonly errorId: string;
}

export function isOver({ status }: Batch): boolean {
  return ['failed', 'completed', 'expired', 'cancelled'].includes(status);
}
