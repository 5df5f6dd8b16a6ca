/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PERMIT_H
#define ENGINE_PERMIT_H

#include "engine/engine.h"

/*
 * Whether the caller may deploy, stage, route, unload and remove receipts: root, the owner of the
 * mount, members of deploy_group. A denial is noted in the log, rate-limited and in memory only;
 * `what` names the act and `object` its object there.
 * Returns 0 or -EACCES not_permitted.
 */
int permit_deploy(struct engine *engine, const struct caller *caller, const char *what,
		  const char *object, struct reason *reason);

/*
 * Whether the caller may start runs: members of start_group and, without one, who may deploy. As
 * permit_deploy.
 */
int permit_start(struct engine *engine, const struct caller *caller, const char *object,
		 struct reason *reason);

/* Whether the caller may look into and command what belongs to `uid`: that user, root, the owner. */
bool permit_user(const struct engine *engine, const struct caller *caller, uid_t uid);

#endif
