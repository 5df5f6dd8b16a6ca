/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_VERDICT_H
#define STORE_VERDICT_H

#include "store/contents.h"
#include "store/digest.h"

/*
 * What is known in this mount about the stored bytes of each content. Any thread. A verdict that
 * cannot be remembered for want of memory is CONTENT_UNKNOWN.
 */

/* Sets a verdict, whatever was said before: by who has just written the bytes. */
void verdict_set(struct store *store, const struct digest *digest, enum content_verdict verdict);

/*
 * Sets what somebody found who looked at a snapshot. CONTENT_BAD does not replace CONTENT_GOOD: the
 * bytes were rewritten meanwhile. Returns the verdict that holds.
 */
enum content_verdict verdict_propose(struct store *store, const struct digest *digest,
				     enum content_verdict verdict);

/* The content is gone. */
void verdict_forget(struct store *store, const struct digest *digest);

#endif
