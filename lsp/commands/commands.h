// One function per command; each lives in commands/<name>.cc (what asks about code: code.cc) and is
// a row of registry.cc.
#pragma once

#include "lsp/command_line.h"

namespace fimd::lsp {

CommandSpec lsp_command();
CommandSpec daemon_command();
CommandSpec complete_command();
CommandSpec explain_command();
CommandSpec review_command();
CommandSpec refactor_command();
CommandSpec fix_command();
CommandSpec document_command();
CommandSpec status_command();
CommandSpec stop_command();
CommandSpec doctor_command();
CommandSpec bench_command();
CommandSpec tokenize_command();
CommandSpec config_command();

}  // namespace fimd::lsp
