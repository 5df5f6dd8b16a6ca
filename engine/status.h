/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STATUS_H
#define ENGINE_STATUS_H

#include "engine/engine.h"

/* MNT/status: one JSON object and a newline. The caller frees. Returns -ENOMEM, -EIO. */
int status_json(struct engine *engine, char **ret_text, size_t *ret_length);

/* MNT/metrics: the same as Prometheus text. */
int status_metrics(struct engine *engine, char **ret_text, size_t *ret_length);

#endif
