/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ARCHIVE_H
#define ENGINE_ARCHIVE_H

#include "engine/decoder.h"

/*
 * Decodes the archive in `fd`, from its first byte to its last, into the sink: the whole of the
 * decoder's work, in this process, behind whatever walls the caller has put up. Only
 * aionfs-decoder and the fuzzers call it; the daemon calls decoder_run.
 * `fd` is read with pread; its offset may move. limits->cpu_seconds is not used.
 * Returns 0, or what decoder_run may return for an archive, with the reason filled in.
 */
int archive_decode(int fd, const struct decoder_limits *limits, const struct decoder_sink *sink,
		   void *context, struct reason *reason);

#endif
