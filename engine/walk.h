/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_WALK_H
#define ENGINE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/codec.h"
#include "store/reason.h"

/*
 * A walk goes along the inflated bytes of a tar or cpio archive, header by header, ahead of
 * libarchive, and hands on to it only what it has found to be in order. It refuses what
 * libarchive lets pass: an archive without its end, data behind the end, names cut at a NUL,
 * checksums that nobody compares. And it says where each entry begins in the bytes that it
 * handed on, so that two readings of one archive can be held against each other.
 */
struct walk {
	struct codec *codec;
	/* The next header, or the end; and the next part of a body. */
	int (*next)(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
		    struct reason *reason);
	int (*piece)(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
		     struct reason *reason);
	void (*close)(struct walk *walk);
	uint64_t handed;  /* bytes handed on, without the newest piece */
	uint64_t header;  /* where the newest entry begins among them */
	uint64_t headers; /* how many entries were handed on */
	uint64_t body;	  /* what is left of the newest entry's body, with its padding */
	size_t pending;	  /* bytes of the codec that the newest piece shows */
	size_t newest;	  /* the length of the newest piece */
};

/* Most bytes of zeros at the end: tools pad to a multiple of their blocking factor. */
#define WALK_PADDING_MAX ((uint64_t)2 << 20)

/* The longest name of an entry, and the longest target of a link. */
#define WALK_NAME_MAX ((size_t)4095)

/* Whether the first bytes of a stream look like the format; `length` is short only at its end. */
bool tarwalk_matches(const uint8_t *bytes, size_t length);
bool cpiowalk_matches(const uint8_t *bytes, size_t length);

/* Each begins a walk; walk_close frees it. NULL for want of memory. The codec stays the caller's.
 */
struct walk *tarwalk_open(struct codec *codec);
struct walk *cpiowalk_open(struct codec *codec);
void walk_close(struct walk *walk);

/*
 * The next piece for libarchive, valid until the next call; its length is 0 when the archive was
 * seen to its very end and is well-formed. A piece never reaches into the next entry.
 * Returns what codec_peek returns, or -EBADMSG archive_corrupt, archive_truncated,
 * archive_unsupported, -EINVAL name_invalid, entry_unsupported.
 */
int walk_next(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
	      struct reason *reason);

/* For the two formats: shows `want` bytes, or refuses because the archive ends before them. */
int walk_need(struct walk *walk, size_t want, const uint8_t **ret_bytes, struct reason *reason);

/* For the two formats: passes a part of the body on. */
int walk_body(struct walk *walk, const uint8_t **ret_bytes, size_t *ret_length,
	      struct reason *reason);

/* For the two formats: from here to the end of the stream there must be nothing but zeros. */
int walk_to_end(struct walk *walk, struct reason *reason);

#endif
