/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PACK_H
#define ENGINE_PACK_H

#include "store/digest.h"
#include "engine/manifest.h"

/* Takes the next bytes of the archive. Returns 0 or a negative errno, which ends the packing. */
typedef int pack_write(void *context, const void *bytes, size_t length);

/*
 * Makes the canonical archive of the package in directory `path`, judged as a deploy would; with
 * `write` NULL only its version is found. Files are read twice; one that changes in between is an
 * error that names it. Links are not followed.
 * Returns the errors of admit.h, -EINVAL entry_unsupported for a device, fifo or socket, -EBUSY
 * entry_changed, those of open(2) and read(2), those of `write`.
 */
int pack_directory(const char *path, pack_write *write, void *context,
		   struct manifest *ret_manifest, struct digest *ret_version,
		   struct reason *reason);

#endif
