#include "lsp/command_line.h"

int main(int argc, char** argv) { return fimd::lsp::run_command_line(argc, argv); }
