// Random JSON Schemas, and random JSON texts under a constraint.

/** A small reproducible source of random numbers (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit) => Math.floor(uniform() * limit);
  return { uniform, below, of: (values) => values[below(values.length)] };
}

const WORDS = ['expert', 'router', 'größe', 'ключ', '名前', 'a b', 'x/y', 'quote"d', 'back\\slash', 'tab\t', '🙂'];

/** A schema of every kind that is supported, with bounds, so that an answer under it comes to an end. */
export function randomSchema(random, depth = 3) {
  const leaves = [string, integer, number, scalar, constant];
  const nodes = [object, object, object, array, array, union, tuple, referring];
  return random.of(depth > 0 && random.uniform() < 0.75 ? nodes : leaves)(random, depth);
}

function string(random) {
  const minLength = random.below(4);
  return random.of([
    { type: 'string', minLength, maxLength: minLength + random.below(6) },
    { type: 'string', pattern: random.of(['^[a-z]{2,5}$', '^(left|right)-[0-9]{1,3}$', '^[A-Z][a-zé]{0,4}$', '^\\d{3}-\\d{2}$']) },
    { type: 'string', format: random.of(['date', 'time', 'date-time', 'ipv4', 'uuid']) },
    { type: 'string', enum: [...new Set([random.of(WORDS), random.of(WORDS)])] },
  ]);
}

function integer(random) {
  const minimum = random.below(2000) - 1000;
  return random.of([
    { type: 'integer', minimum, maximum: minimum + random.below(5000) },
    { type: 'integer', exclusiveMinimum: minimum, exclusiveMaximum: minimum + 2 + random.below(9) },
    { type: 'integer', minimum: 0, maximum: 100, multipleOf: 1 + random.below(7) },
  ]);
}

function number(random) {
  const minimum = (random.below(2000) - 1000) / 8;
  return { type: 'number', minimum, maximum: minimum + random.below(100) };
}

const scalar = (random) => random.of([{ type: 'boolean' }, { type: 'null' }, { type: ['boolean', 'null'] }]);

const constant = (random) => ({ const: random.of([random.of(WORDS), 7, -0.5, true, null, [1, 'two'], { deep: [{}] }]) });

function object(random, depth) {
  const names = [...new Set(Array.from({ length: random.below(5) }, () => random.of(WORDS)))];
  return {
    type: 'object',
    properties: Object.fromEntries(names.map((name) => [name, randomSchema(random, depth - 1)])),
    required: names.filter(() => random.uniform() < 0.6),
    additionalProperties: random.of([false, false, randomSchema(random, 0)]),
  };
}

function array(random, depth) {
  const minItems = random.below(3);
  return { type: 'array', items: randomSchema(random, depth - 1), minItems, maxItems: minItems + random.below(3) };
}

function tuple(random, depth) {
  const prefixItems = Array.from({ length: 1 + random.below(3) }, () => randomSchema(random, depth - 1));
  return { type: 'array', prefixItems, items: false, minItems: prefixItems.length };
}

const union = (random, depth) => ({ anyOf: Array.from({ length: 2 + random.below(2) }, () => randomSchema(random, depth - 1)) });

/** A part under a name, used twice; it cannot be at home in a deeper place than the root, so it is made of leaves. */
function referring(random, depth) {
  if (depth < 3) return object(random, depth);
  return {
    $defs: { part: randomSchema(random, 1) },
    type: 'object',
    properties: { first: { $ref: '#/$defs/part' }, second: { $ref: '#/$defs/part' } },
    required: ['first', 'second'],
    additionalProperties: false,
  };
}
