/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CODEC_H
#define ENGINE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "engine/decoder.h"
#include "store/reason.h"

/*
 * The one filter of an archive: compressed bytes of a file in, the bytes that they stand for out,
 * with every checksum that the filter has verified. Only the decoder process uses it.
 */
struct codec;

/* The most that codec_peek can be asked for. */
#define CODEC_PEEK_MAX ((size_t)64 << 10)

/* What the first bytes of a stream look like; NULL if they are of no filter that is known. */
const char *codec_name_by_magic(const uint8_t *bytes, size_t length);

/*
 * Begins to read `fd` from its offset 0, through the filter that its first bytes name, or through
 * none. The descriptor stays the caller's; it is read with pread only.
 * Ownership: *ret_codec is freed by codec_close.
 * Returns -EBADMSG archive_empty, archive_corrupt for want of memory, -EIO.
 */
int codec_open(int fd, const struct decoder_limits *limits, struct codec **ret_codec,
	       struct reason *reason);

/* Frees it; NULL is allowed. */
void codec_close(struct codec *codec);

/* The filter's name, NULL for none. */
const char *codec_name(const struct codec *codec);

/*
 * Shows the next bytes without using them up: at least `want` of them (at most CODEC_PEEK_MAX),
 * and fewer only where the stream ends, which is then known to be complete. With want 1 it shows
 * what is at hand, or inflates some more. *ret_bytes is valid until the next call.
 * Returns -EBADMSG archive_truncated, archive_corrupt (also for data behind the end of the last
 * member) or archive_unsupported, -EFBIG inflated_too_large, -EIO.
 */
int codec_peek(struct codec *codec, size_t want, const uint8_t **ret_bytes, size_t *ret_length,
	       struct reason *reason);

/* Uses up `length` of the bytes that codec_peek showed. */
void codec_consume(struct codec *codec, size_t length);

/* The same refusal for every way in which memory runs out. Returns -EBADMSG. */
int codec_out_of_memory(const char *what, struct reason *reason);

#endif
