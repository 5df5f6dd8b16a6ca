/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_COMMIT_H
#define FS_COMMIT_H

#include "fs/call.h"
#include "fs/spool.h"

/*
 * When a spool is judged. Runners for FLUSH and FSYNC (`file`) and RENAME within a box (`node`,
 * `name`, `text` is the new name, `flags`); init their calls with commit_init.
 */
int commit_flush(struct call *call);
int commit_fsync(struct call *call);
int commit_rename(struct call *call);

/* Makes a call that may decode: for the decoders' workers, and cancelled by a signal. */
void commit_init(struct call *call);

/* Files the receipt of an archive that was closed with nothing in it, once per spool. */
void commit_note_empty(struct fs *fs, struct spool *spool);

#endif
