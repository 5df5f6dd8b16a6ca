/* SPDX-License-Identifier: Apache-2.0 */
/* Arming durable timers. Firing them is attend.c's. */
#include <errno.h>
#include <string.h>

#include "engine/clock.h"
#include "engine/record.h"
#include "engine/run_private.h"

/* 90s, 15m, 36h, 30d, @UNIX_SECONDS. Never 0, which is no time. Returns -EINVAL. */
static int parse_timer(const char *text, int64_t now_ns, int64_t *ret_due_ns)
{
	bool is_absolute = text[0] == '@';
	int64_t seconds = 0, unit = 1;
	const char *at = text + is_absolute;

	if (*at < '0' || *at > '9')
		return -EINVAL;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(seconds, 10, &seconds) ||
		    __builtin_add_overflow(seconds, *at - '0', &seconds))
			return -EINVAL;
	}
	if (!is_absolute) {
		unit = *at == 's'   ? 1
		       : *at == 'm' ? 60
		       : *at == 'h' ? 3600
		       : *at == 'd' ? 86400
				    : 0;
		at += unit != 0;
	}
	if (!unit || *at || __builtin_mul_overflow(seconds, unit, &seconds) ||
	    __builtin_mul_overflow(seconds, 1000000000, ret_due_ns))
		return -EINVAL;
	if (!is_absolute && __builtin_add_overflow(*ret_due_ns, now_ns, ret_due_ns))
		return -EINVAL;
	/* 0 would mean that nothing is due. */
	if (*ret_due_ns <= 0)
		*ret_due_ns = 1;
	return 0;
}

static int arm(struct engine *engine, struct run *run, const char *name, const char *text,
	       struct reason *reason)
{
	struct event event = {.kind = EVENT_TIMER_SET,
			      .attempt = run->state.attempt,
			      .text = text,
			      .text_length = strlen(text)};
	const struct append append = {.events = &event, .count = 1};
	const struct item *item;
	int error = history_load_items(engine, run);

	if (error)
		return error;
	item = items_find(run->items, ITEM_TIMER, name);
	if (item && strcmp(item->text, text) == 0)
		return 0;
	if (item)
		return reason_set(reason, EEXIST, "timer_exists",
				  "timer \"%s\" of run %s is set to %s already, and not to %s",
				  name, run->id, item->text, text);
	if (parse_timer(text, clock_wall_ns(), &event.until_ns) != 0)
		return reason_set(reason, EINVAL, "timer_invalid",
				  "\"%s\" is no time: 90s, 15m, 36h, 30d or @UNIX_SECONDS", text);
	strcpy(event.name, name);
	error = history_append(engine, run, &append, reason);
	if (error)
		return error;
	if (!run->timer_due_ns || event.until_ns < run->timer_due_ns)
		run->timer_due_ns = event.until_ns;
	/* It sets the clock, and fires at once what is due already. */
	supervisor_attend(engine, run);
	return 0;
}

int timer_arm(struct engine *engine, const struct caller *caller, const char *id, const char *name,
	      const char *text, size_t length, struct reason *reason)
{
	char line[TIMER_TEXT_MAX + 1];
	struct run *run;
	int error = record_check_name(name, reason);

	while (length && (text[length - 1] == '\n' || text[length - 1] == '\r'))
		length--;
	if (!error && (length == 0 || length > TIMER_TEXT_MAX || memchr(text, 0, length)))
		error = reason_set(reason, EINVAL, "timer_invalid",
				   "a timer holds 90s, 15m, 36h, 30d or @UNIX_SECONDS");
	if (!error)
		error = record_lock(engine, caller, id, &run, reason);
	if (!error) {
		memcpy(line, text, length);
		line[length] = '\0';
		error = arm(engine, run, name, line, reason);
		record_unlock(run);
	}
	if (error)
		record_note_refusal(engine, caller, "timer_refused", id, name, reason);
	return error;
}
