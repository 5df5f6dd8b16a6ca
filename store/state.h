/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include <stdbool.h>

#include "store/reason.h"

/* The state directory itself: its lock, its format file, its spools. Not what is in the tables. */
enum state_age {
	STATE_NEW,      /* empty, or a state whose making was interrupted */
	STATE_COMPLETE, /* with a format file of our number, and both environments */
	STATE_OLDER,    /* the same of a format that has no tables of runs yet */
};

/*
 * Opens the directory, making it if wanted. Returns -ENOENT no_store, -ENOSPC, -EIO store_failed.
 */
int state_open(const char *path, bool make, int *ret_directory, struct reason *reason);

/*
 * Locks it and writes our pid. Ownership: closing *ret_lock unlocks. Returns -EBUSY, -ENOSPC, -EIO.
 */
int state_lock(int directory, const char *path, int *ret_lock, struct reason *reason);

/* Does a mount hold the lock? Also true when that cannot be told. */
bool state_is_locked(int directory);

/*
 * Looks what the directory holds. Returns -EPROTO store_format, -EBADMSG store_damaged (a complete
 * state that misses an environment), -EIO store_failed (not a state directory).
 */
int state_inspect(int directory, const char *path, enum state_age *ret_age, struct reason *reason);

/*
 * After the environments: makes the spool directory or empties it, then the format file, durably.
 */
int state_complete(int directory, const char *path, enum state_age age, struct reason *reason);

/* See store_spool. */
int state_spool(int directory, int *ret_fd);

#endif
