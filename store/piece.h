/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_PIECE_H
#define STORE_PIECE_H

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

#include "store/contents.h"
#include "store/digest.h"
#include "store/env.h"

/*
 * How contents lie on the disk. A piece is one value of the table `pieces`, under a number that
 * only grows; LMDB puts it on pages of its own, behind a page header of 16 bytes, so the largest
 * piece with that header is PIECE_BYTES exactly.
 *
 *     1 byte    layout
 *     1 byte    kind: packed, or a part of a run
 *     2 bytes   0
 *     4 bytes   number of entries; 0 in a part
 *     4 bytes   length of everything behind header and entries
 *     4 bytes   CRC-32 of the number, the header so far and the entries
 *     n * 40    entries: digest, offset in the value, length; ascending by offset, without gaps
 *     ...       the bytes
 *
 * A packed piece holds whole contents, neighbours in the archive. A content that does not fit in
 * one owns a run: parts with consecutive numbers, all but the last one full. The bytes are not part
 * of the checksum: their digests are.
 */
#define PIECE_VALUE_MAX (PIECE_BYTES - 16)
#define PIECE_HEADER    16u
#define PIECE_ENTRY     40u
#define PIECE_ENTRIES   4096u
#define PART_BYTES      (PIECE_VALUE_MAX - PIECE_HEADER)
#define PACKED_MAX      (PIECE_VALUE_MAX - PIECE_HEADER - PIECE_ENTRY)

/* How many numbers a content gets that is streamed in before its size is known: 16 TiB. */
#define RUN_NUMBERS (1u << 24)

/* How many parts a content of that size has; 0 if it is packed (or empty). */
uint64_t piece_parts(uint64_t size);

/* One content of a packed piece. */
struct piece_entry {
	struct digest digest;
	const uint8_t *bytes;
	uint32_t size;
	uint32_t offset; /* out, when written */
};

/* Writes a packed piece, replacing the one of that number; the total must fit. */
int piece_write(MDB_txn *txn, const struct env *contents, uint64_t number,
		struct piece_entry *entries, size_t count);

/* Writes one part of a run, at most PART_BYTES. */
int piece_write_part(MDB_txn *txn, const struct env *contents, uint64_t number,
		     const uint8_t *bytes, size_t length);

/* Deletes pieces [number, number + count); those that are missing are fine. */
int piece_delete(MDB_txn *txn, const struct env *contents, uint64_t number, uint64_t count);

/*
 * Takes out of a packed piece what no record points to any more: writes it anew, smaller, and moves
 * the records of what stays; deletes it when nothing stays. A piece that cannot be read is left.
 */
int piece_compact(MDB_txn *txn, const struct env *contents, uint64_t number);

/* What a piece says about itself, copied out of the map. */
struct piece_view {
	bool part;
	uint32_t count;
	uint32_t length;  /* of the bytes */
	uint8_t *entries; /* count * PIECE_ENTRY bytes; the caller frees it */
};

/*
 * Checks header, entries and the value's length. Returns -EBADMSG when they are not right, -EIO
 * when the value cannot be touched, -ENOMEM. Survives SIGBUS.
 */
int piece_view(uint64_t number, const MDB_val *value, struct piece_view *ret_view);

/* The index-th entry; `bytes` stays NULL. */
struct piece_entry piece_view_entry(const struct piece_view *view, uint32_t index);

/* Takes `count` numbers that were never used. */
int piece_number(MDB_txn *txn, const struct env *contents, uint64_t count, uint64_t *ret_number);

#endif
