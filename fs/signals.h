/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_SIGNALS_H
#define FS_SIGNALS_H

#include <stdbool.h>

/*
 * The signals that end a mount (SIGTERM, SIGINT, SIGHUP) are blocked in every thread and read from
 * a descriptor, so that no handler runs in the middle of anything and none is lost. SIGPIPE
 * and SIGXFSZ (a write past RLIMIT_FSIZE) are ignored: the write's own error says it.
 */

/*
 * Blocks them; later threads inherit that. To be called before the first thread starts.
 * Returns a descriptor that is readable once one has arrived, or -errno.
 */
int signals_open(void);

/* Whether one has arrived already; takes none. */
bool signals_pending(void);

#endif
