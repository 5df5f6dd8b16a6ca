/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_TEXT_H
#define FS_TEXT_H

#include "fs/call.h"

/* Files that are generated when somebody asks: README, status, metrics, quarantine entries. */

/*
 * Makes the text of a node. Ownership: the caller frees *ret_text.
 * Returns -ENOENT (not a text, or not there any more), -ENOMEM, -EIO.
 */
int text_make(struct fs *fs, const struct node *node, char **ret_text, size_t *ret_length,
	      int64_t *ret_at_ns);

#endif
