/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_HOLDER_ARGS_H
#define ENGINE_HOLDER_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What the holder was told. Strings point into its arguments. */
struct holder_args {
	const char *mount, *run, *type, *version, *function, *attempt;
	const char *log, *path, *home, *user, *shell;
	const char *tz; /* or NULL */
	uid_t uid;
	gid_t gid;
	bool becomes_user; /* there was `groups` */
	gid_t groups[8192];
	size_t group_count;
};

/*
 * Reads and checks the arguments. Returns 0, or -EINVAL with the key at fault in *ret_key: one that
 * is missing, unknown, there twice, or has a value that no daemon would give.
 */
int holder_args_parse(int argc, char **argv, struct holder_args *ret_args, const char **ret_key);

#endif
