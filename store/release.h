/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RELEASE_H
#define STORE_RELEASE_H

#include <stddef.h>

#include "store/pending.h"
#include "store/store.h"

/*
 * Writes, durably, a pending row of a release with its digests, one reference each, and sets its
 * number. It holds nothing as long as the rows that it names are there. Ends with contents_release
 * or contents_hold_cancel. Returns -ENOSPC, -EIO, -ENOMEM; then there is no such pending row, or
 * one that the next mount drops.
 */
int release_hold(struct store *store, struct pending *pending, const struct digest *digests,
		 size_t count);

#endif
