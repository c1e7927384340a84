/** Patterns of the formats of JSON schema that are kept to. */
const year = '\\d{4}';
const date = `(${year}-(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|${year}-(0[469]|11)-(0[1-9]|[12]\\d|30)|${year}-02-(0[1-9]|1\\d|2[0-8]))`;
const time = '([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)';
const octet = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const label = '[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?';
const hex = '[0-9a-f]';

export const stringFormats: Readonly<Record<string, string>> = {
  date,
  time,
  'date-time': `${date}T${time}`,
  duration: 'P(\\d{1,4}W|\\d{1,4}D(T\\d{1,4}H)?|T\\d{1,4}[HMS])',
  uuid: `${hex}{8}-${hex}{4}-${hex}{4}-${hex}{4}-${hex}{12}`,
  ipv4: `${octet}\\.${octet}\\.${octet}\\.${octet}`,
  ipv6: `(${hex}{1,4}:){7}${hex}{1,4}`,
  hostname: `${label}(\\.${label}){0,3}`,
  email: `[a-z0-9_+-]{1,32}(\\.[a-z0-9_+-]{1,16}){0,2}@${label}(\\.${label}){0,2}\\.[a-z]{2,8}`,
};
