/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "store/env.h"
#include "store/reason.h"

/*
 * Walks both environments in a child process: LMDB trusts its pages, so damage may kill or hang
 * whoever reads it. Keys must ascend, and tables must hold as many rows as they say; the list of
 * free pages, which decides where the writer writes, must be in order. A row that merely fails its
 * checksum is no finding: the reload isolates it. `rows` says which tables the state's format has.
 *
 * Context: the process has one thread, and neither environment open; nobody else writes them.
 * Returns -EBADMSG store_damaged, naming table and remedy; -ENOMEM, -EIO when it could not be
 * tried.
 */
int check_state(const char *path, const struct env_kind *rows, struct reason *reason);

#endif
