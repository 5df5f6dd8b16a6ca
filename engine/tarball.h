/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TARBALL_H
#define ENGINE_TARBALL_H

#include "engine/tree.h"

/*
 * The canonical archive of a version, generated on the fly at any offset: index order, times and ids 0,
 * a pax header only for paths or links over 100 bytes or sizes from 8 GiB, two zero blocks at the end.
 * manifest.sig, where there is one, is its last entry. The root itself is left out.
 */
struct tarball;

#define TARBALL_HEADER_MAX 16384 /* the longest run of literal bytes: pax header, its body, header */

enum tarball_source {
	TARBALL_LITERAL,   /* bytes in `buffer` */
	TARBALL_CONTENT,   /* bytes of a content */
};

struct tarball_segment {
	enum tarball_source source;
	uint64_t length;      /* how many bytes this segment goes on from the asked offset */
	uint64_t offset;      /* CONTENT: where in it */
	uint32_t node;	      /* CONTENT: whose it is; UINT32_MAX for the signature */
	struct digest digest; /* CONTENT */
	uint64_t size;	      /* CONTENT: of the whole */
};

/*
 * Lays out the archive. The tree is borrowed and must outlive it; `signature` may be NULL.
 * Returns -ENOMEM, -EFBIG when it would be larger than any file can be.
 */
int tarball_new(const struct tree *tree, const struct digest *signature, uint64_t signature_bytes,
		struct tarball **ret_tarball);
void tarball_free(struct tarball *tarball);

uint64_t tarball_size(const struct tarball *tarball);

/*
 * What is at `offset`. Literal bytes are copied to the start of `buffer`, `length` of them.
 * Returns 0, or -ERANGE behind the end. Safe for several threads at once.
 */
int tarball_segment(const struct tarball *tarball, uint64_t offset,
		    char buffer[TARBALL_HEADER_MAX], struct tarball_segment *ret_segment);

#endif
