--- Options of `require('fimd').setup{}`: defaults, checks, and what applies to a buffer.

---@class fimd.Keys
---@field accept string|string[]|false
---@field accept_word string|string[]|false
---@field accept_line string|string[]|false
---@field next string|string[]|false
---@field prev string|string[]|false
---@field dismiss string|string[]|false
---@field trigger string|string[]|false

---@class fimd.Config
---@field cmd string[] How to run fimd's language server.
---@field cmd_env table<string, string>? Environment variables for it.
---@field enabled boolean Whether to start with suggestions on.
---@field auto boolean Suggest while typing; false: only when asked with the trigger key.
---@field delay_ms integer Pause after a change before asking for a suggestion.
---@field ghost 'fimd'|'builtin' Who draws: this plugin, or Neovim 0.12's vim.lsp.inline_completion.
---@field filetypes table<string, boolean> By file type; `*` stands for all that are not named.
---@field root_markers string[] Files and folders that mark the root of a project.
---@field settings table The daemon's settings for this editor (docs/configuration.md).
---@field keys fimd.Keys|false

local M = {}

---@type fimd.Config
M.defaults = {
  cmd = { 'fimd', 'lsp' },
  enabled = true,
  auto = true,
  delay_ms = 15,
  ghost = 'fimd',
  filetypes = { ['*'] = true, help = false, qf = false, TelescopePrompt = false },
  root_markers = {
    '.git',
    '.hg',
    '.jj',
    'compile_commands.json',
    'Cargo.toml',
    'go.mod',
    'package.json',
    'pyproject.toml',
  },
  settings = {},
  keys = {
    accept = { '<Tab>', '<M-l>' },
    accept_word = '<M-w>',
    accept_line = '<M-e>',
    next = '<M-n>',
    prev = '<M-p>',
    dismiss = '<C-]>',
    trigger = '<M-\\>',
  },
}

---@type fimd.Config
M.current = vim.deepcopy(M.defaults)

--- Keys the user named in setup{}: those are mapped even if something else has them.
---@type table<string, boolean>
M.chosen_keys = {}

---@param options table
local function check(options)
  local function known(given, allowed, where)
    for name in pairs(given) do
      if allowed[name] == nil then
        local names = vim.tbl_keys(allowed)
        table.sort(names)
        local message = "fimd: unknown option '%s%s' (known: %s)"
        error(message:format(where, name, table.concat(names, ', ')), 0)
      end
    end
  end
  local allowed = vim.deepcopy(M.defaults)
  allowed.cmd_env = {}
  known(options, allowed, '')
  for name, value in pairs(options) do
    local want = type(allowed[name])
    local off = name == 'keys' and value == false
    if type(value) ~= want and not off then
      error(("fimd: option '%s' must be a %s, not a %s"):format(name, want, type(value)), 0)
    end
  end
  if type(options.keys) == 'table' then
    known(options.keys, M.defaults.keys, 'keys.')
  end
  if options.ghost and options.ghost ~= 'fimd' and options.ghost ~= 'builtin' then
    error(("fimd: option 'ghost' is 'fimd' or 'builtin', not '%s'"):format(options.ghost), 0)
  end
  if options.ghost == 'builtin' and not vim.lsp.inline_completion then
    error("fimd: ghost = 'builtin' needs Neovim 0.12", 0)
  end
end

---@param options? table
function M.set(options)
  options = options or {}
  check(options)
  M.current = vim.tbl_deep_extend('force', vim.deepcopy(M.defaults), options)
  -- Lists replace lists; tbl_deep_extend of 0.10 would merge them by index.
  for _, name in ipairs({ 'cmd', 'root_markers' }) do
    M.current[name] = vim.deepcopy(options[name] or M.defaults[name])
  end
  M.chosen_keys = {}
  if options.keys == false then
    M.current.keys = {}
  else
    for name, keys in pairs(options.keys or {}) do
      M.current.keys[name] = vim.deepcopy(keys)
      M.chosen_keys[name] = true
    end
  end
end

--- Whether this buffer is one for suggestions, by its kind and file type.
---@param buf integer
---@return boolean
function M.suits(buf)
  if not vim.api.nvim_buf_is_loaded(buf) or vim.bo[buf].buftype ~= '' then
    return false
  end
  if vim.b[buf].fimd_enabled == false then
    return false
  end
  if vim.api.nvim_buf_get_name(buf) == '' then
    return false -- all of them would be one document, file://
  end
  local types = M.current.filetypes
  local by_type = types[vim.bo[buf].filetype]
  if by_type == nil then
    by_type = types['*']
  end
  return by_type ~= false or vim.b[buf].fimd_enabled == true
end

--- The program to run: as configured, on the PATH, or installed or built next to this plugin.
---@return string[]? cmd nil if there is none
function M.command()
  local cmd = vim.deepcopy(M.current.cmd)
  if vim.fn.executable(cmd[1]) == 1 then
    return cmd
  end
  if cmd[1] ~= 'fimd' then
    return nil
  end
  local here = vim.fs.dirname(vim.fs.dirname(vim.fs.dirname(debug.getinfo(1, 'S').source:sub(2))))
  local places = {
    '/../../../../../../../bin/fimd', -- PREFIX/share/nvim/site/pack/fimd/start/fimd
    '/../../build/release/lsp/fimd', -- the source tree
    '/../../build/dev/lsp/fimd',
  }
  for _, place in ipairs(places) do
    local path = vim.fs.normalize(vim.fn.resolve(here) .. place)
    path = vim.fn.fnamemodify(vim.fn.resolve(path), ':p')
    if vim.fn.executable(path) == 1 then
      cmd[1] = path
      return cmd
    end
  end
  return nil
end

return M
