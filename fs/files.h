/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_FILES_H
#define FS_FILES_H

#include "fs/handle.h"

/*
 * Reading: the files of packages, archives, indexes, the log and the texts. Runners for OPEN
 * (`file` with its flags) and READ (`file`, `offset`, `size`) of everything but the drop boxes and runs.
 */
int files_open(struct call *call);
int files_read(struct call *call);

/* Answers OPEN with a text; takes it over. */
int files_open_text(struct call *call, char *text, size_t length);

/* Answers OPEN with a handle; takes it over. */
int files_reply_open(struct call *call, struct handle *handle);

/* Answers READ from a handle's text, or where it has none from its content. */
int files_read_bytes(struct call *call, struct handle *handle);

#endif
