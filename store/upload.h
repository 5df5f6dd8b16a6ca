/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_UPLOAD_H
#define STORE_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"
#include "store/reason.h"
#include "store/store.h"

/*
 * An upload brings contents in through bounded transactions, holding their references by a pending
 * row until a version row (or the row of a run's value, store/value.h) takes them over:
 *
 *     upload_open; { upload_write*; upload_end }*; upload_seal;
 *     rows_commit(ROW_PUT_VERSION with upload_number());
 *     upload_adopt (or upload_abort when the commit failed or the version existed)
 *
 * A crash at any point leaves either the version with its contents, or nothing after the next
 * mount.
 * Context: one thread uses an upload at a time; several uploads may run at once.
 */
struct upload;

/* Returns -ENOMEM. Writes nothing yet. */
int upload_open(struct store *store, struct upload **ret_upload, struct reason *reason);

/* The number that the version row must carry. Never 0, never used twice in a state. */
uint64_t upload_number(const struct upload *upload);

/*
 * Adds bytes to the current content. Hands full batches to the writer, and waits when three are
 * under way. Returns -ENOSPC store_full, -EIO store_failed; the upload can then only be aborted.
 */
int upload_write(struct upload *upload, const void *bytes, size_t length, struct reason *reason);

/*
 * The same without a copy: upload_room says where the next bytes of the current content go, and for
 * how many (1 or more) there is room; upload_filled, that so many were put there.
 */
int upload_room(struct upload *upload, void **ret_room, size_t *ret_length, struct reason *reason);
int upload_filled(struct upload *upload, size_t length, struct reason *reason);

/*
 * Ends the current content (an empty one is fine) and takes one reference to it for this upload,
 * however often the same digest ends. A stored content of the same digest is reused only if it
 * was verified in this mount or is verified now; otherwise it is rewritten, for all who share it.
 * Returns as upload_write.
 */
int upload_end(struct upload *upload, struct digest *ret_digest, uint64_t *ret_size,
	       struct reason *reason);

/*
 * Makes everything durable; the pending row now names the version that will take it over.
 * Returns as upload_write.
 */
int upload_seal(struct upload *upload, const char *type, const struct digest *version,
		struct reason *reason);

/*
 * The same for the value of an event, whose row is to carry upload_number(). May be called again
 * with other numbers: the last ones count.
 */
int upload_seal_value(struct upload *upload, uint64_t run, uint64_t sequence,
		      struct reason *reason);

/* Bytes that this upload added to the store, as opposed to found there; final after upload_seal. */
uint64_t upload_new_bytes(const struct upload *upload);

/* The row that carries upload_number() is committed: drops the pending row (lazily) and frees. */
void upload_adopt(struct upload *upload);

/*
 * The row existed already, so its version holds its references: gives this upload's back, but
 * leaves at least one to each content (one that was lost and came back with this upload belongs to
 * that version). Frees the upload.
 */
void upload_return(struct upload *upload);

/*
 * Gives back every reference and frees what nobody else holds, then frees the upload. An error
 * while doing so leaves it to the next mount. NULL is accepted.
 */
void upload_abort(struct upload *upload);

#endif
