/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a file through the filter that its first bytes name. Owns the two buffers, and the rules
 * that hold for every filter: members of the same filter may follow each other, anything else
 * behind the last one is refused; a member that the file does not finish is an archive that was
 * cut; and the bytes that come out are counted against the limit as they come, whatever any
 * header says. Without a filter the bytes pass as they are, under the same count.
 */
#include "engine/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/codec_filter.h"

#define IN_SIZE ((size_t)128 << 10)
#define OUT_SIZE ((size_t)256 << 10)

struct codec {
	int fd;
	off_t offset; /* in the file, behind what is in `in` */
	bool at_end;  /* of the file */
	size_t in_begin, in_end;
	size_t out_begin, out_end;
	const struct codec_filter *filter; /* NULL: none */
	void *member;			   /* the state of the open member, NULL between two */
	bool any_member;		   /* one was opened */
	uint64_t memory_bytes;
	uint64_t inflated_limit;
	uint64_t inflated; /* so far */
	bool finished;	   /* nothing more will come out */
	uint8_t in[IN_SIZE];
	uint8_t out[OUT_SIZE];
};

const char *codec_name_by_magic(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; codec_filters[i]; i++) {
		if (codec_filters[i]->magic(bytes, length))
			return codec_filters[i]->name;
	}
	return NULL;
}

const char *codec_name(const struct codec *codec)
{
	return codec->filter ? codec->filter->name : NULL;
}

static int read_failed(struct reason *reason)
{
	return reason_set(reason, EIO, "decoder_failed", "cannot read the spooled archive: %s",
			  strerror(errno));
}

/* Brings `want` bytes of input to hand, fewer only at the end of the file. */
static int fill_input(struct codec *codec, size_t want, struct reason *reason)
{
	size_t left = codec->in_end - codec->in_begin;

	if (left >= want)
		return 0;
	memmove(codec->in, codec->in + codec->in_begin, left);
	codec->in_begin = 0;
	codec->in_end = left;
	while (codec->in_end < want && !codec->at_end) {
		ssize_t got = pread(codec->fd, codec->in + codec->in_end, IN_SIZE - codec->in_end,
				    codec->offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return read_failed(reason);
		codec->at_end = got == 0;
		codec->in_end += (size_t)got;
		codec->offset += got;
	}
	return 0;
}

/*
 * zstd and lz4 share the magic of their skippable frames, and pzstd begins with one: the first
 * frame that is none decides. What is skipped here is decoded, and so checked, later.
 */
static int choose_among_skippable(struct codec *codec, struct reason *reason)
{
	off_t at = 0;
	uint8_t head[CODEC_MAGIC];

	for (;;) {
		ssize_t got = pread(codec->fd, head, sizeof(head), at);

		if (got < 0)
			return read_failed(reason);
		if (!codec_is_skippable(head, (size_t)got) || got < 8) {
			const char *name = codec_name_by_magic(head, (size_t)got);

			for (size_t i = 0; name && codec_filters[i]; i++) {
				if (codec_filters[i]->name == name)
					codec->filter = codec_filters[i];
			}
			return 0;
		}
		at += 8 + ((off_t)head[4] | (off_t)head[5] << 8 | (off_t)head[6] << 16 |
			   (off_t)head[7] << 24);
	}
}

static int choose_filter(struct codec *codec, struct reason *reason)
{
	int result = fill_input(codec, CODEC_MAGIC, reason);

	if (result < 0)
		return result;
	if (codec->in_end == 0)
		return reason_set(reason, EBADMSG, "archive_empty", "the archive has no bytes");
	for (size_t i = 0; codec_filters[i] && !codec->filter; i++) {
		if (codec_filters[i]->magic(codec->in, codec->in_end))
			codec->filter = codec_filters[i];
	}
	if (codec_is_skippable(codec->in, codec->in_end))
		return choose_among_skippable(codec, reason);
	return 0;
}

int codec_open(int fd, const struct decoder_limits *limits, struct codec **ret_codec,
	       struct reason *reason)
{
	struct codec *codec = malloc(sizeof(*codec));
	int result;

	if (!codec)
		return codec_out_of_memory("bytes", reason);
	memset(codec, 0, offsetof(struct codec, in));
	codec->fd = fd;
	codec->memory_bytes = limits->memory_bytes;
	codec->inflated_limit = limits->inflated_bytes;
	result = choose_filter(codec, reason);
	if (result < 0) {
		codec_close(codec);
		return result;
	}
	*ret_codec = codec;
	return 0;
}

void codec_close(struct codec *codec)
{
	if (codec && codec->member)
		codec->filter->close(codec->member);
	free(codec);
}

/* Steps over the zero bytes that a filter allows between and behind its members. */
static int skip_padding(struct codec *codec, struct reason *reason)
{
	uint64_t zeros = 0;
	int result;

	while (codec->filter->padding > 0) {
		result = fill_input(codec, CODEC_MAGIC, reason);
		if (result < 0)
			return result;
		if (codec->in_begin == codec->in_end || codec->in[codec->in_begin] != 0)
			break;
		while (codec->in_begin < codec->in_end && codec->in[codec->in_begin] == 0) {
			codec->in_begin++;
			zeros++;
		}
	}
	if (codec->filter->padding > 0 && zeros % codec->filter->padding != 0)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "the padding behind the %s data has an odd length",
				  codec->filter->name);
	return 0;
}

/* Between two members: opens the next one, or finds that there is none. */
static int next_member(struct codec *codec, struct reason *reason)
{
	int result = 0;

	if (codec->any_member)
		result = skip_padding(codec, reason);
	if (result == 0)
		result = fill_input(codec, CODEC_MAGIC, reason);
	if (result < 0)
		return result;
	if (codec->in_begin == codec->in_end) {
		codec->finished = true;
		return 0;
	}
	if (!codec->filter->magic(codec->in + codec->in_begin, codec->in_end - codec->in_begin))
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "there is data behind the end of the archive's %s data",
				  codec->filter->name);
	codec->any_member = true;
	codec->member = codec->filter->open(codec->memory_bytes);
	return codec->member ? 0 : codec_out_of_memory(codec->filter->name, reason);
}

static int count_inflated(struct codec *codec, size_t length, struct reason *reason)
{
	codec->out_end += length;
	codec->inflated += length;
	if (codec->inflated <= codec->inflated_limit)
		return 0;
	return reason_set(reason, EFBIG, "inflated_too_large",
			  "the archive inflates to more than max_inflated_bytes (%" PRIu64 ")",
			  codec->inflated_limit);
}

/* One step of the open member. */
static int inflate_some(struct codec *codec, struct reason *reason)
{
	struct codec_io io;
	size_t in_left;
	int result = fill_input(codec, 1, reason);

	if (result < 0)
		return result;
	in_left = codec->in_end - codec->in_begin;
	io.in = codec->in + codec->in_begin;
	io.in_left = in_left;
	io.out = codec->out + codec->out_end;
	io.out_left = OUT_SIZE - codec->out_end;
	result = codec->filter->step(codec->member, &io, reason);
	if (result < 0)
		return result;
	codec->in_begin = codec->in_end - io.in_left;
	if (result == CODEC_END) {
		codec->filter->close(codec->member);
		codec->member = NULL;
	} else if (io.in_left == in_left && io.out_left == OUT_SIZE - codec->out_end) {
		if (codec->at_end && in_left == 0)
			return reason_set(reason, EBADMSG, "archive_truncated",
					  "the archive ends inside its %s data; copy it again",
					  codec->filter->name);
		if (in_left == IN_SIZE)
			return reason_set(reason, EBADMSG, "archive_corrupt",
					  "the %s data leads nowhere", codec->filter->name);
		return fill_input(codec, in_left + 1, reason);
	}
	return count_inflated(codec, OUT_SIZE - codec->out_end - io.out_left, reason);
}

/* Without a filter: hands over what the file holds. */
static int copy_some(struct codec *codec, struct reason *reason)
{
	size_t length, room = OUT_SIZE - codec->out_end;
	int result = fill_input(codec, 1, reason);

	if (result < 0)
		return result;
	length = codec->in_end - codec->in_begin;
	if (length == 0)
		codec->finished = true;
	if (length > room)
		length = room;
	memcpy(codec->out + codec->out_end, codec->in + codec->in_begin, length);
	codec->in_begin += length;
	return count_inflated(codec, length, reason);
}

static int produce(struct codec *codec, struct reason *reason)
{
	if (!codec->filter)
		return copy_some(codec, reason);
	if (!codec->member)
		return next_member(codec, reason);
	return inflate_some(codec, reason);
}

int codec_peek(struct codec *codec, size_t want, const uint8_t **ret_bytes, size_t *ret_length,
	       struct reason *reason)
{
	int result = 0;

	if (codec->out_end - codec->out_begin < want && codec->out_begin > 0) {
		memmove(codec->out, codec->out + codec->out_begin,
			codec->out_end - codec->out_begin);
		codec->out_end -= codec->out_begin;
		codec->out_begin = 0;
	}
	while (result == 0 && codec->out_end - codec->out_begin < want && !codec->finished)
		result = produce(codec, reason);
	*ret_bytes = codec->out + codec->out_begin;
	*ret_length = codec->out_end - codec->out_begin;
	return result;
}

void codec_consume(struct codec *codec, size_t length)
{
	codec->out_begin += length;
}
