/* Attention of new tokens over kept keys and values: float32, one thread, head dimension DIM (a multiple of 16).

   Work comes in passes, each of which lets some query rows read one run of keys; a row's passes are merged by an online
   softmax, in their order. A run is cut into tiles at multiples of TILE, and all that is added up for a row is added
   key by key: its result depends on its own runs and never on how many rows read a tile beside it.
   Capacities of slots are multiples of TILE, so that a whole tile can be read wherever its first key can. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define WIDTH 16
#define MOST 4 /* vectors of a row that stay in registers beside those of five others */
#elif defined(__AVX__)
#define WIDTH 8
#define MOST 2
#else
#define WIDTH 4
#define MOST 2
#endif
#define TILE 64
#define ROWS 6
#define FITTING (DIM % (4 * WIDTH) == 0 ? 4 : DIM % (2 * WIDTH) == 0 ? 2 : 1)
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(WIDTH * 4)));
typedef int32_t ivec __attribute__((vector_size(WIDTH * 4)));
typedef float quad __attribute__((vector_size(16)));

#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t iquad __attribute__((vector_size(16)));
#define PICK(a, b, ...) __builtin_shuffle(a, b, (iquad){__VA_ARGS__})
#endif

typedef struct {
    int64_t first, count; /* tokens */
    int64_t keys;         /* address of the slot: [layers, 2 x kv_heads, capacity, DIM], key heads first */
    int64_t layer, head;  /* floats from one layer, and one head, to the next */
    int64_t from, to;     /* keys read; `from` is a multiple of TILE */
    int64_t grows;        /* each token reads one key more than the one before, the last of them its own, not there yet;
                             2: it is one token, and nobody else reads this run */
} Pass;

typedef struct {
    float *row[ROWS];         /* outputs so far [DIM], not divided by `sum` yet */
    const float *query[ROWS]; /* [DIM] */
    float *max[ROWS], *sum[ROWS];
    int64_t keys[ROWS]; /* of this tile; may be 0 or less, or beyond the tile */
} Block;

INLINE vec load(const float *from) { vec x; memcpy(&x, from, sizeof x); return x; }
INLINE void store(float *to, vec x) { memcpy(to, &x, sizeof x); }
INLINE quad load4(const float *from) { quad x; memcpy(&x, from, sizeof x); return x; }
INLINE void store4(float *to, quad x) { memcpy(to, &x, sizeof x); }

INLINE vec larger(vec a, vec b) {
    ivec which = a > b;
    return (vec)(((ivec)a & which) | ((ivec)b & ~which));
}

INLINE vec exponential(vec x) { /* of x <= 0, within 2 units in the last place; 0 below -87 */
    ivec n = __builtin_convertvector(x * 1.44269504f - 0.5f, ivec);
    vec whole = __builtin_convertvector(n, vec), f = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = f * (1.f / 5040) + 1.f / 720;
    p = p * f + 1.f / 120;
    p = p * f + 1.f / 24;
    p = p * f + 1.f / 6;
    p = p * f + 0.5f;
    p = p * f + 1.f;
    p = p * f + 1.f;
    return (vec)((ivec)(p * (vec)((n + 127) << 23)) & (ivec)(x > -87.f));
}

INLINE void product(const int rows, const int wide, const float *const *a, const float *b, int64_t step, int64_t count,
                    float *const *c, const float *keep) {
    /* c[r][0 : wide * WIDTH] = keep[r] * c + sum over k of a[r][k] * b[k * step + ...]; without `keep` c is not read */
    vec sum[ROWS][4];
    for (int r = 0; r < rows; r++)
        for (int w = 0; w < wide; w++) {
            sum[r][w] = (vec){0};
            if (keep) sum[r][w] += load(c[r] + w * WIDTH) * keep[r];
        }
    for (int64_t k = 0; k < count; k++, b += step)
        for (int r = 0; r < rows; r++)
            for (int w = 0; w < wide; w++) sum[r][w] += load(b + w * WIDTH) * a[r][k];
    for (int r = 0; r < rows; r++)
        for (int w = 0; w < wide; w++) store(c[r] + w * WIDTH, sum[r][w]);
}

static void transpose(const float *keys, int64_t count, float *out) { /* [count, DIM] to [DIM, TILE] */
    for (int64_t t = 0; t < count; t += 4)
        for (int d = 0; d < DIM; d += 4) {
            const float *k = keys + t * DIM + d;
            quad a = load4(k), b = load4(k + DIM), c = load4(k + 2 * DIM), e = load4(k + 3 * DIM);
            quad ab = PICK(a, b, 0, 4, 1, 5), ce = PICK(c, e, 0, 4, 1, 5);
            quad AB = PICK(a, b, 2, 6, 3, 7), CE = PICK(c, e, 2, 6, 3, 7);
            float *o = out + d * TILE + t;
            store4(o, PICK(ab, ce, 0, 1, 4, 5));
            store4(o + TILE, PICK(ab, ce, 2, 3, 6, 7));
            store4(o + 2 * TILE, PICK(AB, CE, 0, 1, 4, 5));
            store4(o + 3 * TILE, PICK(AB, CE, 2, 3, 6, 7));
        }
}

INLINE quad folded(vec x) {
    quad part[WIDTH / 4], sum;
    memcpy(part, &x, sizeof x);
    sum = part[0];
    for (int i = 1; i < WIDTH / 4; i++) sum += part[i];
    return sum;
}

INLINE void dots(const int rows, const float *const *query, const float *keys, int64_t count, float *const *scores,
                 const float *ahead) {
    /* Scores of one or two rows with `count` keys (rounded up to 4): for so few, turning the keys costs more than this.
       What is read next is fetched meanwhile, since reading is what one row's keys and values cost. */
    for (int64_t t = 0; t < count; t += 4, keys += 4 * DIM, ahead += 4 * DIM) {
        for (int i = 0; i < 4 * DIM; i += 16) __builtin_prefetch(ahead + i);
        vec sum[2][4];
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < 4; j++) sum[r][j] = (vec){0};
        for (int d = 0; d < DIM; d += WIDTH)
            for (int j = 0; j < 4; j++)
                for (int r = 0; r < rows; r++) sum[r][j] += load(keys + j * DIM + d) * load(query[r] + d);
        for (int r = 0; r < rows; r++) {
            quad a = folded(sum[r][0]), b = folded(sum[r][1]), c = folded(sum[r][2]), e = folded(sum[r][3]);
            quad ab = PICK(a, b, 0, 4, 1, 5) + PICK(a, b, 2, 6, 3, 7);
            quad ce = PICK(c, e, 0, 4, 1, 5) + PICK(c, e, 2, 6, 3, 7);
            store4(scores[r] + t, PICK(ab, ce, 0, 1, 4, 5) + PICK(ab, ce, 2, 3, 6, 7));
        }
    }
}

INLINE float weigh(float *scores, int64_t keys, int64_t padded, float scale, float *max, float *sum) {
    /* Scores to weights, relative to the largest score so far; returns what earlier weights are to be multiplied by. */
    for (int64_t t = keys < 0 ? 0 : keys; t < padded; t++) scores[t] = -INFINITY;
    vec most = load(scores);
    for (int64_t t = WIDTH; t < padded; t += WIDTH) most = larger(load(scores + t), most);
    float top = *max;
    for (int i = 0; i < WIDTH; i++) top = most[i] * scale > top ? most[i] * scale : top;
    vec total = {0};
    for (int64_t t = 0; t < padded; t += WIDTH) {
        vec w = exponential(load(scores + t) * scale - top);
        store(scores + t, w);
        total += w;
    }
    float added = 0, keep = exponential((vec){0} + (*max - top))[0];
    for (int i = 0; i < WIDTH; i++) added += total[i];
    *sum = *sum * keep + added;
    *max = top;
    return keep;
}

INLINE void tile(const int rows, const int wide, const int turned, const Block *b, const float *keys,
                 const float *values, int64_t most, int64_t padded, float scale) {
    /* One tile for up to ROWS rows; `most` keys for the row that reads the most of it; `turned`: keys are transposed. */
    float scores[ROWS][TILE], keep[ROWS], *at[ROWS];
    for (int r = 0; r < rows; r++) at[r] = scores[r];
    for (int r = 0; !turned && r < rows; r += 2) {
        if (r + 1 < rows) dots(2, b->query + r, keys, most, at + r, values);
        else dots(1, b->query + r, keys, most, at + r, values);
    }
    for (int64_t t = 0; turned && t < padded; t += wide * WIDTH) {
        for (int r = 0; r < rows; r++) at[r] = scores[r] + t;
        product(rows, wide, b->query, keys + t, TILE, DIM, at, 0);
    }
    for (int r = 0; r < rows; r++) keep[r] = weigh(scores[r], b->keys[r], padded, scale, b->max[r], b->sum[r]);
    for (int r = 0; r < rows; r++) at[r] = scores[r];
    for (int d = 0; d < DIM; d += wide * WIDTH) {
        float *out[ROWS];
        for (int r = 0; r < rows; r++) out[r] = b->row[r] + d;
        product(rows, wide, (const float *const *)at, values + d, DIM, most, out, keep);
    }
}

INLINE void tile_of(const int turned, int rows, const Block *b, const float *keys, const float *values, int64_t most,
                    int64_t padded, float scale) {
    enum { many = FITTING < MOST ? FITTING : MOST };
    switch (rows) {
    case 1: tile(1, FITTING, turned, b, keys, values, most, padded, scale); break;
    case 2: tile(2, FITTING, turned, b, keys, values, most, padded, scale); break;
    case 3: tile(3, many, turned, b, keys, values, most, padded, scale); break;
    case 4: tile(4, many, turned, b, keys, values, most, padded, scale); break;
    case 5: tile(5, many, turned, b, keys, values, most, padded, scale); break;
    default: tile(6, many, turned, b, keys, values, most, padded, scale);
    }
}

typedef struct { /* tokens N, heads = kv_heads x group; strides are floats between tokens */
    const float *q, *k, *v;
    float *out;   /* [N, heads, DIM] */
    float *state; /* [N, heads, 2] */
    int64_t q_step, k_step, v_step, tokens, kv_heads, group, layer;
} Call;

static void run(const Call *c, const Pass *p, int64_t h, float scale) {
    float *keys = (float *)p->keys + p->layer * c->layer + p->head * h, *values = keys + p->head * c->kv_heads;
    for (int64_t i = 0; p->grows && i < p->count; i++) {
        memcpy(keys + (p->to - 1 + i) * DIM, c->k + (p->first + i) * c->k_step + h * DIM, DIM * 4);
        memcpy(values + (p->to - 1 + i) * DIM, c->v + (p->first + i) * c->v_step + h * DIM, DIM * 4);
    }
    int64_t rows = p->count * c->group, heads = c->kv_heads * c->group, end = p->to + (p->grows ? p->count - 1 : 0);
    int turn = p->grows != 2 || rows > ROWS;
    float turned[DIM * TILE] __attribute__((aligned(64)));
    for (int64_t t = p->from; t < end; t += TILE) {
        int64_t there = end - t < TILE ? end - t : TILE;
        if (turn) transpose(keys + t * DIM, (there + 3) / 4 * 4, turned);
        for (int64_t r = 0; r < rows; r += ROWS) {
            Block b = {0};
            int n = rows - r < ROWS ? (int)(rows - r) : ROWS;
            for (int i = 0; i < n; i++) {
                int64_t token = p->first + (r + i) / c->group, head = h * c->group + (r + i) % c->group;
                b.query[i] = c->q + token * c->q_step + head * DIM;
                b.row[i] = c->out + (token * heads + head) * DIM;
                b.max[i] = c->state + (token * heads + head) * 2;
                b.sum[i] = b.max[i] + 1;
                b.keys[i] = p->to + (p->grows ? token - p->first : 0) - t;
            }
            int64_t most = b.keys[n - 1] < TILE ? b.keys[n - 1] : TILE, step = FITTING * WIDTH;
            int64_t padded = (most + step - 1) / step * step;
            if (most <= 0) continue;
            if (turn) tile_of(1, n, &b, turned, values + t * DIM, most, padded, scale);
            else tile_of(0, n, &b, keys + t * DIM, values + t * DIM, most, padded, scale);
        }
    }
}

void attend(const Call *c, const Pass *passes, int64_t count, int64_t first_head, int64_t last_head) {
    int64_t heads = c->kv_heads * c->group;
    float scale = 1 / sqrtf(DIM);
    for (int64_t h = first_head; h < last_head; h++) {
        for (int64_t n = 0; n < c->tokens; n++)
            for (int64_t g = n * heads + h * c->group; g < n * heads + (h + 1) * c->group; g++) {
                c->state[2 * g] = -INFINITY, c->state[2 * g + 1] = 0;
                memset(c->out + g * DIM, 0, DIM * 4);
            }
        for (int64_t i = 0; i < count; i++) run(c, passes + i, h, scale);
        for (int64_t n = 0; n < c->tokens; n++)
            for (int64_t g = n * heads + h * c->group; g < n * heads + (h + 1) * c->group; g++)
                for (int d = 0; d < DIM; d++) c->out[g * DIM + d] /= c->state[2 * g + 1];
    }
}
