/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ACCOUNT_H
#define ENGINE_ACCOUNT_H

#include <stddef.h>
#include <sys/types.h>

/* What the user and group databases say of a user; for one that they do not know: its numbers. */
struct account {
	char *name, *home, *shell;
	gid_t *groups; /* `gid` and the supplementary ones */
	size_t group_count;
};

/*
 * Looks a user up. `gid` is the primary group to have. May ask the network (NSS).
 * Ownership: account_release. Returns 0, -ENOMEM, -EIO the databases do not answer.
 */
int account_find(uid_t uid, gid_t gid, struct account *ret_account);

void account_release(struct account *account);

#endif
