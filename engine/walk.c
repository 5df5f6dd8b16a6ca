/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the walks along tar and cpio share: pieces that are views of the codec's buffer and are
 * used up when the next one is asked for, bodies, and the end of the stream.
 */
#include "engine/walk.h"

#include <errno.h>

void walk_close(struct walk *walk)
{
	if (walk)
		walk->close(walk);
}

int walk_next(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
	      struct reason *reason)
{
	int result;

	codec_consume(walk->codec, walk->pending);
	walk->pending = 0;
	walk->handed += walk->newest;
	walk->newest = 0;
	if (walk->body > 0)
		result = walk->piece(walk, ret_bytes, ret_length, reason);
	else
		result = walk->next(walk, ret_bytes, ret_length, reason);
	if (result == 0)
		walk->newest = *ret_length;
	return result;
}

static int ends_early(struct reason *reason)
{
	return reason_set(reason, EBADMSG, "archive_truncated",
			  "the archive ends before its end marker; copy it again");
}

int walk_need(struct walk *walk, size_t want, const uint8_t **ret_bytes, struct reason *reason)
{
	size_t length;
	int result = codec_peek(walk->codec, want, ret_bytes, &length, reason);

	if (result == 0 && length < want)
		return ends_early(reason);
	return result;
}

int walk_body(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
	      struct reason *reason)
{
	size_t length;
	int result = codec_peek(walk->codec, 1, ret_bytes, &length, reason);

	if (result < 0)
		return result;
	if (length == 0)
		return ends_early(reason);
	if (length > walk->body)
		length = (size_t)walk->body;
	walk->body -= length;
	walk->pending = length;
	*ret_length = length;
	return 0;
}

int walk_to_end(struct walk *walk, struct reason *reason)
{
	uint64_t zeros = 0;

	for (;;) {
		const uint8_t *bytes;
		size_t length;
		int result = codec_peek(walk->codec, 1, &bytes, &length, reason);

		if (result < 0 || length == 0)
			return result;
		for (size_t i = 0; i < length; i++) {
			if (bytes[i] != 0)
				return reason_set(reason, EBADMSG, "archive_corrupt",
						  "there is data behind the end of the archive");
		}
		zeros += length;
		if (zeros > WALK_PADDING_MAX)
			return reason_set(reason, EBADMSG, "archive_corrupt",
					  "there is more than 2 MiB of padding behind the end of "
					  "the archive");
		codec_consume(walk->codec, length);
	}
}
