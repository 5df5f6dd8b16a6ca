/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzzer as a test: over its seeds, over the files named as arguments (a crash that libFuzzer
 * left, for one), and over MUTATIONS changes of each. The changes come from a generator with a fixed
 * start, so that every run is the same one: a failure can be repeated, and nothing is flaky.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define MUTATIONS 20000u
#define INPUT_MAX (256u * 1024)

struct input {
	uint8_t *bytes;
	size_t length, room;
};

static uint64_t state;

/* xorshift64: good enough to pick places and bytes. */
static uint64_t draw(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

static void resize(struct input *input, size_t length)
{
	if (length > input->room) {
		input->bytes = realloc(input->bytes, length);
		if (!input->bytes) {
			perror("replay");
			exit(1);
		}
		input->room = length;
	}
	input->length = length;
}

/* Replaces `gone` bytes at `at` by others, which must not lie in the input itself. */
static void splice(struct input *input, size_t at, size_t gone, const void *bytes, size_t length)
{
	size_t tail = input->length - at - gone, before = input->length;

	if (before - gone + length > INPUT_MAX)
		return;
	if (length > gone)
		resize(input, before - gone + length);
	memmove(input->bytes + at + length, input->bytes + at + gone, tail);
	if (length > 0)
		memcpy(input->bytes + at, bytes, length);
	input->length = before - gone + length;
}

static void copy_stretch(struct input *input, size_t at)
{
	uint8_t stretch[64];
	size_t from = draw(input->length), length = 1 + draw(sizeof(stretch));

	if (length > input->length - from)
		length = input->length - from;
	memcpy(stretch, input->bytes + from, length);
	splice(input, at, 0, stretch, length);
}

static void mutate(struct input *input)
{
	static const char *const words[] = {"/",   ".",	  "..", "\\", "\\000", "\\057", "\n", " ",
					    "0",   "9",	  "-",	"\"", "{",     "}",	"[",  ":",
					    "\xff", "\xc3", "1e9", "18446744073709551616"};
	size_t at = input->length > 0 ? draw(input->length) : 0;
	const char *word = words[draw(sizeof(words) / sizeof(words[0]))];
	uint8_t byte = (uint8_t)draw(256);

	if (input->length == 0) {
		splice(input, 0, 0, word, strlen(word));
		return;
	}
	switch (draw(7)) {
	case 0:
		input->bytes[at] ^= (uint8_t)(1u << draw(8));
		break;
	case 1:
		input->bytes[at] = byte;
		break;
	case 2:
		splice(input, at, 0, word, strlen(word));
		break;
	case 3:
		splice(input, at, 1, word, strlen(word));
		break;
	case 4:
		splice(input, at, 1 + draw(input->length - at), NULL, 0);
		break;
	case 5:
		copy_stretch(input, at);
		break;
	default:
		splice(input, at, 0, &byte, 1);
		break;
	}
}

/* The fuzzer gets a block of exactly its length, so that the sanitizer sees a byte too far. */
static void run(const struct input *input)
{
	uint8_t *exact = malloc(input->length > 0 ? input->length : 1);

	if (!exact) {
		perror("replay");
		exit(1);
	}
	if (input->length > 0)
		memcpy(exact, input->bytes, input->length);
	LLVMFuzzerTestOneInput(exact, input->length);
	free(exact);
}

static void replay(const char *name, const void *bytes, size_t length)
{
	struct input input = {0};

	fprintf(stderr, "%s\n", name);
	state = UINT64_C(0x9e3779b97f4a7c15);
	for (unsigned i = 0; i <= MUTATIONS; i++) {
		/* Some mutations pile up, most begin with the seed again. */
		if (i < 2 || draw(4) > 0) {
			resize(&input, length);
			if (length > 0)
				memcpy(input.bytes, bytes, length);
		}
		for (uint64_t left = i > 0 ? 1 + draw(4) : 0; left > 0; left--)
			mutate(&input);
		run(&input);
	}
	free(input.bytes);
}

static int replay_file(const char *path)
{
	static uint8_t bytes[INPUT_MAX];
	FILE *file = fopen(path, "rb");
	size_t length;

	if (!file) {
		perror(path);
		return 1;
	}
	length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	replay(path, bytes, length);
	return 0;
}

int main(int argc, char **argv)
{
	const char *seed;
	char name[32];
	size_t length;
	int failed = 0;

	for (size_t i = 0; (seed = fuzz_seed(i, &length)); i++) {
		snprintf(name, sizeof(name), "seed %zu", i);
		replay(name, seed, length);
	}
	for (int i = 1; i < argc; i++)
		failed |= replay_file(argv[i]);
	return failed;
}
