/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SETTLE_H
#define STORE_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/*
 * Ending a pending row in bounded transactions, each of which deletes or shortens what it has dealt
 * with: a crash in between is continued by whoever settles next. Runs that nothing points to are
 * deleted in any case.
 */
enum settle_how {
	SETTLE_DROP,      /* somebody else holds the references now */
	SETTLE_GIVE_BACK, /* nobody does */
	SETTLE_RETURN,    /* a version does as well: as GIVE_BACK, but the last reference stays */
};

/*
 * Does it, and waits. Context: not the writer's thread. Returns -ENOSPC, -EIO, -ENOMEM; the rest is
 * left for the next mount.
 */
int settle_number(struct store *store, uint64_t number, enum settle_how how);

/*
 * Drops a pending row whose references a version row holds, without waiting. Where that fails, the
 * number is remembered, and settle_forgotten drops it in front of the next release: a pending row
 * that outlived its version would be given back a second time.
 */
void settle_adopted(struct store *store, uint64_t number);

/* Drops what settle_adopted could not. Returns as settle_number. */
int settle_forgotten(struct store *store);

/*
 * For store_open: settles each pending row by what the rows of versions and values say. A full
 * disk is no error: the rows wait for the next mount. Returns -EIO, -ENOMEM.
 */
int settle_all(struct store *store);

#endif
