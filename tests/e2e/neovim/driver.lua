-- Drives a real Neovim over msgpack-RPC: types keys, waits for conditions, looks at its state.

local M = {}

local here = vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':p:h')

-- Generous: on a busy machine everything takes long, and a wait that succeeds ends at once.
M.default_timeout_ms = 30000

---@class Editor
---@field channel integer
---@field job integer
local Editor = {}
Editor.__index = Editor

--- Escapes text for nvim_input.
local function keys_of(text)
  return (text:gsub('<', '<LT>'):gsub('\n', '<CR>'):gsub('\t', '<Tab>'))
end

---@param options { nvim: string, plugin: string? }
---@return string[]
local function arguments(options)
  local list = { options.nvim, '--clean', '-n' }
  -- Looking for a Python with Neovim's module takes a second in each Python file.
  vim.list_extend(list, { '--cmd', 'let g:loaded_python3_provider = 0' })
  vim.list_extend(list, { '--cmd', 'luafile ' .. here .. '/spy.lua' })
  if options.plugin then
    vim.list_extend(list, { '--cmd', 'set runtimepath^=' .. options.plugin })
  end
  return list
end

---@param options { nvim: string }
local function runtime(options)
  return vim.fn.resolve(vim.fs.normalize(options.nvim .. '/../../share/nvim/runtime'))
end

function Editor:prepare(init)
  self:wait('the end of its start', 'return vim.v.vim_did_enter == 1')
  self:lua('vim.o.shortmess = vim.o.shortmess .. "I"; vim.o.more = false')
  if init then
    self:lua(init)
  end
end

--- Ends the editor if it cannot be prepared: nobody else would.
---@return Editor
function Editor:prepared(init)
  local ok, message = pcall(self.prepare, self, init)
  if not ok then
    self:stop()
    error(message, 0)
  end
  return self
end

---@param options { nvim: string, plugin: string?, init: string?, cwd: string }
---@return Editor
function M.start(options)
  local self = setmetatable({ stderr = {} }, Editor)
  self.job = vim.fn.jobstart(vim.list_extend(arguments(options), { '--embed', '--headless' }), {
    rpc = true,
    cwd = options.cwd,
    env = { VIMRUNTIME = runtime(options) },
    on_stderr = function(_, data)
      vim.list_extend(self.stderr, data)
    end,
  })
  assert(self.job > 0, 'cannot start ' .. options.nvim)
  return self:prepared(options.init)
end

---@return string output
local function tmux(socket, ...)
  local command = { 'tmux', '-u', '-f', '/dev/null', '-S', socket, ... }
  local result = vim.system(command, { text = true }):wait(M.default_timeout_ms)
  assert(result.code == 0, ('tmux %s: %s'):format(table.concat({ ... }, ' '), result.stderr))
  return result.stdout
end

--- The same in a terminal, whose screen can be looked at.
---@param options { nvim: string, plugin: string?, init: string?, cwd: string }
---@return Editor
function M.start_in_terminal(options)
  local self = setmetatable({ stderr = {}, tmux = options.cwd .. '/tmux' }, Editor)
  local listen = options.cwd .. '/nvim.sock'
  local command = { 'env', 'VIMRUNTIME=' .. runtime(options) }
  vim.list_extend(command, arguments(options))
  vim.list_extend(command, { '--listen', listen })
  local shell = {}
  for _, word in ipairs(command) do
    shell[#shell + 1] = vim.fn.shellescape(word)
  end
  local line = table.concat(shell, ' ')
  tmux(self.tmux, 'new-session', '-d', '-x', '80', '-y', '24', '-c', options.cwd, line)
  local ok = vim.wait(M.default_timeout_ms, function()
    local connected, channel = pcall(vim.fn.sockconnect, 'pipe', listen, { rpc = true })
    self.job = connected and channel or nil
    return connected and channel > 0
  end, 20)
  if not ok then
    local screen = table.concat(self:screen(), '\n')
    self:stop()
    error('no Neovim in the terminal, which shows:\n' .. screen, 0)
  end
  return self:prepared(options.init)
end

--- Types into the terminal.
function Editor:press(...)
  tmux(self.tmux, 'send-keys', ...)
end

--- The lines of the terminal's screen, with colours and attributes as escape sequences if asked for.
function Editor:screen(with_attributes)
  local output = tmux(self.tmux, 'capture-pane', '-p', unpack(with_attributes and { '-e' } or {}))
  return vim.split(output, '\n', { plain = true })
end

--- Runs Lua code in the editor and returns its value.
function Editor:lua(code, ...)
  return vim.rpcrequest(self.job, 'nvim_exec_lua', code, { ... })
end

function Editor:input(keys)
  vim.rpcrequest(self.job, 'nvim_input', keys)
end

--- Types text, all at once: as fast as keys can come.
function Editor:type(text)
  self:input(keys_of(text))
end

--- Waits until `condition` (Lua code in the editor, or a function here) is true.
---@return any its value
function Editor:wait(what, condition, timeout_ms)
  local value
  local ok = vim.wait(timeout_ms or M.default_timeout_ms, function()
    if type(condition) == 'string' then
      value = self:lua(condition)
    else
      value = condition()
    end
    return value ~= nil and value ~= false and value ~= vim.NIL
  end, 10)
  if not ok then
    error(('waited in vain for %s; %s'):format(what, self:describe()), 0)
  end
  return value
end

function Editor:describe()
  local ok, state = pcall(self.lua, self, [[
    return {
      mode = vim.api.nvim_get_mode().mode,
      lines = vim.api.nvim_buf_get_lines(0, 0, -1, false),
      cursor = vim.api.nvim_win_get_cursor(0),
      ghost = wire.ghost(),
      status = wire.status,
      pending = wire.pending(),
      messages = vim.fn.execute('messages'),
    }]])
  return ok and vim.inspect(state) or 'the editor is gone'
end

function Editor:edit(path)
  self:lua('vim.cmd.edit(...)', path)
end

function Editor:lines()
  return self:lua('return vim.api.nvim_buf_get_lines(0, 0, -1, false)')
end

function Editor:text()
  return table.concat(self:lines(), '\n')
end

---@return { text: string, row: integer, col: integer }?
function Editor:ghost()
  local ghost = self:lua('return wire.ghost()')
  return ghost ~= vim.NIL and ghost or nil
end

--- Waits for ghost text and returns it.
function Editor:wait_ghost()
  local ghost = self:wait('ghost text', function()
    return self:ghost()
  end)
  return ghost
end

--- Waits until the keys are processed, no request is open and the screen has settled.
function Editor:settle()
  self:wait('an answer to every request', [[
    return wire.pending() == 0 and (not _G.fimd_settling or _G.fimd_settling())
  ]])
end

function Editor:wait_text(text)
  self:wait('the text ' .. vim.inspect(text), function()
    return self:text() == text
  end)
end

--- Waits until the daemon has its model.
function Editor:wait_ready()
  self:wait('the model', 'return wire.status and wire.status.state == "idle"', 30000)
end

function Editor:stop()
  if self.job then
    pcall(vim.rpcnotify, self.job, 'nvim_command', 'qall!')
  end
  if self.tmux then
    vim.wait(200)
    pcall(tmux, self.tmux, 'kill-server')
    return
  end
  if vim.fn.jobwait({ self.job }, 3000)[1] == -1 then
    vim.fn.jobstop(self.job)
  end
end

return M
