/**
 * ONNX models of a chain of square matrix products, as bytes: enough of the protobuf encoding for graphs of MatMul and
 * MatMulNBits nodes (onnx.proto, opset 21 and com.microsoft 1). The file format is onnxruntime's only way in.
 */
const FLOAT = 1;
const UINT8 = 2;
const INT_ATTRIBUTE = 2;

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, value) => {
  const body = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
};
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const tensor = (name, type, dims, raw) =>
  message(5, ...dims.map(dim => number(1, dim)), number(2, type), bytes(8, name), bytes(9, raw));
const matrixInfo = (field, name, columns) =>
  message(
    field,
    bytes(1, name),
    message(2, message(1, number(1, FLOAT), message(2, message(1, bytes(2, 'rows')), message(1, number(1, columns))))),
  );
const attribute = (name, value) => message(5, bytes(1, name), number(3, value), number(20, INT_ATTRIBUTE));
const opset = (domain, version) => message(8, bytes(1, domain), number(2, version));

function model(length, size, initializers, node) {
  const nodes = Array.from({ length }, (_, i) => node(i === 0 ? 'x' : `y${i}`, i === length - 1 ? 'out' : `y${i + 1}`));
  const graph = [...nodes, bytes(2, 'chain'), ...initializers, matrixInfo(11, 'x', size), matrixInfo(12, 'out', size)];
  return Buffer.concat([number(1, 10), opset('', 21), opset('com.microsoft', 1), message(7, ...graph)]);
}
const rawBytes = array => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

/** `length` times x = x B, with f32 B [size, size]. */
export function matMulChain(length, size, b) {
  return model(length, size, [tensor('b', FLOAT, [size, size], rawBytes(b))], (from, to) =>
    message(1, bytes(1, from), bytes(1, 'b'), bytes(2, to), bytes(4, 'MatMul')),
  );
}

/**
 * `length` times x = x W^T, with W of 4-bit codes, symmetric about 8, in groups of 32 along a row: codes u8 [size, size / 2], low
 * half first, scales f32 [size, size / 32]. `accuracy` 4 lets the provider round activations to int8; 0 does not.
 */
export function matMul4Chain(length, size, { codes, scales }, accuracy) {
  const initializers = [
    tensor('codes', UINT8, [size, size / 32, 16], rawBytes(codes)),
    tensor('scales', FLOAT, [(size * size) / 32], rawBytes(scales)),
  ];
  const attributes = { K: size, N: size, bits: 4, block_size: 32, accuracy_level: accuracy };
  return model(length, size, initializers, (from, to) =>
    message(
      1,
      ...[from, 'codes', 'scales'].map(name => bytes(1, name)),
      bytes(2, to),
      bytes(4, 'MatMulNBits'),
      ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      bytes(7, 'com.microsoft'),
    ),
  );
}
