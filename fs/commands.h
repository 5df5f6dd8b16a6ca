/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_COMMANDS_H
#define FS_COMMANDS_H

/*
 * The commands of `aionfs`. Each takes its own arguments, argv[0] being its name, tells its errors
 * on stderr itself, and returns the program's exit code.
 */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,  /* it was refused or went wrong; fsck: there are findings */
	EXIT_USAGE = 2,	  /* the command line makes no sense; fsck: it could not look */
	EXIT_HELPER = 32, /* mount(8)'s code for a failed mount, from mount.aionfs */
};

struct command {
	const char *name;
	const char *arguments; /* for the usage line */
	const char *summary;   /* one line */
	const char *details;   /* what --help says below them; ends with a newline */
	int (*run)(int argc, char **argv);
};

extern const struct command command_mount, command_pack, command_hash, command_fsck, command_list,
    command_stop, command_step, command_sleep, command_wait;

/* `mount.aionfs STATE MOUNTPOINT ...`, as mount(8) calls it. */
int command_mount_helper(int argc, char **argv);

/*
 * Parses `-x`, `-x VALUE` and operands in any order, as getopt does, from argv[1] on. `options` is
 * getopt's string. For each option `take` (NULL when there is none) is called with its letter and
 * value; it returns 0, or an exit code when it has told an error. Operands end up from
 * argv[*ret_first] on.
 * Returns 0 to go on; 1 when the command must return *ret_code: after --help, and after an error,
 * which is told already.
 */
int command_options(const struct command *command, int argc, char **argv, const char *options,
		    int (*take)(void *context, int letter, char *value), void *context,
		    int *ret_first, int *ret_code);

/* Tells that the arguments make no sense, and how they go. Returns EXIT_USAGE. */
int command_usage(const struct command *command);

/* Prints --help of one command to stdout. */
void command_help(const struct command *command);

#endif
