/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_OPTIONS_H
#define FS_OPTIONS_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "store/reason.h"

/* What the mount command was told to do: its options, parsed and checked. */
struct options {
	struct engine_options engine; /* its strings are owned here; `state` is not set here */
	bool allow_other;
	unsigned long mount_flags; /* MS_NOSUID and the like, for mount(2) */
	char *owned[ENGINE_PACKAGES_MAX];
};

/* Sets the defaults: allow_other for root, nosuid, nodev; the caller is the owner. */
void options_init(struct options *options);

/* Frees what it owns. */
void options_free(struct options *options);

/*
 * Reads the text behind one -o: options separated by commas, `\,` is a comma in a value. Later ones
 * overrule earlier ones; package= adds. The options that fstab and mount(8) share with every
 * filesystem are taken; of those only the ones that the kernel knows have an effect.
 * With `sloppy` unknown options are ignored (mount -s).
 * Returns -EINVAL option_unknown or option_invalid, -E2BIG, -ENOMEM; the message names the option.
 */
int options_parse(struct options *options, const char *text, bool sloppy, struct reason *reason);

/*
 * Reads a whole number with an optional suffix K, M, G or T (powers of 1024). 1 is the smallest.
 * Returns -EINVAL, -ERANGE.
 */
int options_number(const char *text, uint64_t *ret_number);

/*
 * Reads a length of time: a whole number from 1 on, with an optional s, m, h or d; seconds without.
 * Returns -EINVAL, -ERANGE (more than 100 years).
 */
int options_duration(const char *text, uint64_t *ret_ns);

/* Makes relative package files absolute, because the daemon changes to /. Returns -errno. */
int options_resolve(struct options *options, struct reason *reason);

#endif
