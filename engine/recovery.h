/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RECOVERY_H
#define ENGINE_RECOVERY_H

#include "engine/engine.h"

/*
 * The runs at mount time, after the reload of versions and routes: every history is read and
 * folded; unfinished runs resolve their pin, or strand alone; attempts of a former daemon are
 * ended; timers are armed. A history that can't be read is told loudly and isolated: the run is not
 * there, its ID stays taken, and quarantine/runs/ID says why. Starts the supervisor, but no
 * attempt. Returns -EIO (a table can't be read at all), -ENOMEM.
 */
int recovery_open(struct engine *engine, struct reason *reason);

#endif
