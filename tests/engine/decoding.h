/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENGINE_DECODING_H
#define TESTS_ENGINE_DECODING_H

/*
 * Runs the real decoder, which the environment names (AIONFS_DECODER, set by meson), and notes what
 * the sink was given as lines of text: "file PATH [x] BYTES", "dir PATH", "link PATH -> TARGET",
 * "hard PATH -> TARGET BYTES". Bytes that are not printable ASCII are written \xNN, long bodies as
 * their length.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/decoder.h"
#include "tests/engine/archive_builder.h"

#define DECODING_LIMITS                                                                            \
	{                                                                                          \
		.archive_bytes = 64 << 20, .inflated_bytes = 16 << 20, .entries = 1000,            \
		.cpu_seconds = 60, .memory_bytes = UINT64_C(512) << 20,                            \
	}

struct decoding {
	struct decoder_limits limits;
	struct reason reason;
	char text[8192];
	size_t used;
	char body[64];
	size_t body_length;
	int nonzero; /* whether a long body had a byte that is not zero */
	atomic_bool cancel;
};

static inline void decoding_note(struct decoding *decoding, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length && decoding->used + 8 < sizeof(decoding->text); i++) {
		unsigned char byte = (unsigned char)bytes[i];
		char *out = decoding->text + decoding->used;

		if (byte >= 0x20 && byte < 0x7f)
			decoding->used += (size_t)sprintf(out, "%c", byte);
		else
			decoding->used += (size_t)sprintf(out, "\\x%02x", byte);
	}
}

static inline int decoding_entry(void *context, const struct decoder_entry *entry,
				 struct reason *reason)
{
	static const char *const kinds[] = {"", "file ", "dir ", "link ", "hard "};
	struct decoding *decoding = context;

	(void)reason;
	decoding->body_length = 0;
	decoding_note(decoding, kinds[entry->kind], strlen(kinds[entry->kind]));
	decoding_note(decoding, entry->path, entry->path_length);
	cr_assert_eq(entry->path[entry->path_length], '\0');
	if (entry->target) {
		decoding_note(decoding, " -> ", 4);
		decoding_note(decoding, entry->target, entry->target_length);
	}
	if (entry->kind == DECODER_FILE && entry->executable)
		decoding_note(decoding, " x", 2);
	return 0;
}

static inline int decoding_data(void *context, const void *bytes, size_t length,
				struct reason *reason)
{
	struct decoding *decoding = context;
	const char *text = bytes;

	(void)reason;
	cr_assert_gt(length, 0);
	for (size_t i = 0; i < length; i++) {
		if (decoding->body_length + i < sizeof(decoding->body))
			decoding->body[decoding->body_length + i] = text[i];
		decoding->nonzero |= text[i] != 0;
	}
	decoding->body_length += length;
	return 0;
}

static inline int decoding_end(void *context, struct reason *reason)
{
	struct decoding *decoding = context;
	char length[32];

	(void)reason;
	if (decoding->body_length > sizeof(decoding->body)) {
		snprintf(length, sizeof(length), " (%zu)", decoding->body_length);
		decoding_note(decoding, length, strlen(length));
	} else if (decoding->body_length > 0) {
		decoding_note(decoding, " ", 1);
		decoding_note(decoding, decoding->body, decoding->body_length);
	}
	decoding->text[decoding->used++] = '\n';
	decoding->text[decoding->used] = '\0';
	return 0;
}

/* Decodes what was built, and frees it. */
static inline int decode(struct decoding *decoding, struct builder *builder)
{
	static const struct decoder_sink sink = {
	    .entry = decoding_entry, .data = decoding_data, .end = decoding_end};
	int fd = builder_file(builder), result;

	decoder_set_program(getenv("AIONFS_DECODER"));
	result = decoder_run(fd, &decoding->limits, &sink, decoding, &decoding->cancel,
			     &decoding->reason);
	close(fd);
	builder_free(builder);
	return result;
}

/* The archive is accepted, and holds this. */
static inline void expect_entries(struct builder *builder, const char *text)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	int result = decode(&decoding, builder);

	cr_assert_eq(result, 0, "%s: %s", decoding.reason.code, decoding.reason.message);
	cr_assert_str_eq(decoding.text, text);
}

/* The archive is refused with this code. */
static inline void expect_refusal(struct builder *builder, int error, const char *code)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	int result = decode(&decoding, builder);

	cr_assert_eq(result, -error, "%d %s: %s", result, decoding.reason.code,
		     decoding.reason.message);
	cr_assert_str_eq(decoding.reason.code, code, "%s", decoding.reason.message);
	cr_assert_gt(strlen(decoding.reason.message), 10);
}

#endif
