/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TARPAX_H
#define ENGINE_TARPAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/walk.h"
#include "store/reason.h"

/* The most bytes that the extended header of one entry may have. */
#define TARPAX_MAX ((size_t)1 << 20)

/*
 * What the headers in front of a tar entry (pax x, GNU L and K) say about it, of that which
 * matters here. Names are raw bytes without a NUL; length 0: not given.
 */
struct tarpax {
	bool given; /* a pax header was among them */
	bool has_size;
	uint64_t size;
	size_t path_length, target_length, sparse_length;
	char path[WALK_NAME_MAX + 1];
	char target[WALK_NAME_MAX + 1];
	bool sparse_name; /* path is GNU.sparse.name, which wins over a plain path */
	char *sparse;	  /* the GNU.sparse records, as they came; owned */
	size_t sparse_room;
};

/* Forgets everything, for the next entry. */
void tarpax_reset(struct tarpax *pax);

/* Frees what it owns. */
void tarpax_free(struct tarpax *pax);

/*
 * Takes over the records of a pax header. A global one may only hold what concerns no names or
 * sizes, and leaves nothing behind.
 * Returns -EBADMSG archive_corrupt for a malformed record, archive_unsupported for a global one
 * that would rename or resize, -EINVAL name_invalid for a name that holds a NUL or is too long.
 */
int tarpax_take(struct tarpax *pax, const uint8_t *bytes, size_t length, bool global,
		struct reason *reason);

/*
 * Takes over the body of a GNU long name (or, `target`, long link target).
 * Returns -EINVAL name_invalid.
 */
int tarpax_take_long(struct tarpax *pax, const uint8_t *bytes, size_t length, bool target,
		     struct reason *reason);

/* The most bytes that tarpax_write needs. */
size_t tarpax_written_max(const struct tarpax *pax);

/*
 * Writes a pax body that says to libarchive what is known, and that names are raw bytes.
 * `link` tells whether the entry is a link, so that a target is wanted. Returns its length.
 */
size_t tarpax_write(const struct tarpax *pax, bool link, char *out);

#endif
