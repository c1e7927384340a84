const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

const two = (value: number): string => String(value).padStart(2, '0');

const fields: Readonly<Record<string, (date: Date) => string>> = {
  Y: date => String(date.getFullYear()),
  y: date => two(date.getFullYear() % 100),
  m: date => two(date.getMonth() + 1),
  B: date => months[date.getMonth()]!,
  b: date => months[date.getMonth()]!.slice(0, 3),
  d: date => two(date.getDate()),
  A: date => days[date.getDay()]!,
  a: date => days[date.getDay()]!.slice(0, 3),
  H: date => two(date.getHours()),
  I: date => two(date.getHours() % 12 || 12),
  p: date => (date.getHours() < 12 ? 'AM' : 'PM'),
  M: date => two(date.getMinutes()),
  S: date => two(date.getSeconds()),
  '%': () => '%',
};

/** Python's `strftime` for the fields that templates use, in English and local time; other fields stay as they are. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([A-Za-z%])/g, (text, field: string) => fields[field]?.(date) ?? text);
}
