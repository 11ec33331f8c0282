--- The `:Fimd` command.

local M = {}

---@param title string
---@param lines string[]
local function scratch(title, lines)
  vim.cmd('botright new')
  local buf = vim.api.nvim_get_current_buf()
  vim.bo[buf].buftype = 'nofile'
  vim.bo[buf].bufhidden = 'wipe'
  vim.bo[buf].swapfile = false
  pcall(vim.api.nvim_buf_set_name, buf, title)
  vim.api.nvim_buf_set_lines(buf, 0, -1, false, lines)
  vim.bo[buf].modifiable = false
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = buf, desc = 'Close' })
end

---@param arguments string[]
local function run_fimd(arguments)
  local config = require('fimd.config')
  local cmd = config.command()
  if not cmd then
    vim.notify(("fimd: '%s' is not executable"):format(config.current.cmd[1]), vim.log.levels.ERROR)
    return
  end
  local line = vim.list_extend({ cmd[1] }, arguments)
  vim.system(line, { text = true, env = config.current.cmd_env }, function(result)
    vim.schedule(function()
      local output = vim.trim(result.stdout .. result.stderr)
      scratch('[' .. table.concat(line, ' ') .. ']', vim.split(output, '\n', { plain = true }))
    end)
  end)
end

--- What `:Fimd status` prints.
---@return string[]
function M.status_lines()
  local client = require('fimd.client')
  local status = client.status
  local percent = status.percent and (' %d%%'):format(status.percent) or ''
  local lines = { 'fimd: ' .. status.state .. percent }
  local function add(label, value)
    if value and value ~= '' then
      lines[#lines + 1] = ('  %-8s %s'):format(label, value)
    end
  end
  add('message', status.message)
  add('model', status.model)
  add('backend', status.backend)
  if (status.tokensPerSecond or 0) > 0 then
    add('speed', ('%.0f tokens/s'):format(status.tokensPerSecond))
  end
  if (status.cacheHitRate or 0) > 0 then
    add('cache', ('%.0f %% of prompt tokens reused'):format(100 * status.cacheHitRate))
  end
  local running = client.get()
  local cmd = running and table.concat(running.config.cmd, ' ')
  add('server', cmd and ('client %d, %s'):format(running.id, cmd))
  local buf = vim.api.nvim_get_current_buf()
  local attached = running and running.attached_buffers[buf]
  add('buffer', attached and 'on' or 'off')
  return lines
end

---@return string the daemon's log file, where it is by default
local function log_path()
  local configured = vim.tbl_get(require('fimd.config').current.settings, 'log', 'file')
  if configured and configured ~= '' then
    return vim.fs.normalize(configured)
  end
  local state = vim.env.XDG_STATE_HOME
  return (state and state ~= '' and state or vim.env.HOME .. '/.local/state') .. '/fimd/daemon.log'
end

---@class fimd.Subcommand
---@field run fun(arguments: string[], bang: boolean, options: table)
---@field text? boolean It takes the rest of the line as text, `|` and `"` included.
---@field complete? fun(lead: string): string[]

---@param lead string
---@return string[]
local function complete_scope(lead)
  return vim.startswith('buffer', lead) and { 'buffer' } or {}
end

---@param on boolean|'toggle'
---@return fimd.Subcommand
local function switch(on)
  return {
    run = function(arguments)
      local fimd = require('fimd')
      local buf = arguments[1] == 'buffer' and 0 or nil
      if arguments[1] and not buf then
        error(("fimd: '%s' is not 'buffer'"):format(arguments[1]), 0)
      end
      local wanted = on
      if on == 'toggle' then
        wanted = not fimd.is_enabled(buf)
      end
      fimd.enable(wanted, buf)
    end,
    complete = complete_scope,
  }
end

--- A command of the daemon.
---@param name string
---@return fimd.Subcommand
local function ask(name)
  return {
    text = true,
    run = function(_, _, options)
      local text = vim.trim((options.args:gsub('^%S+', '', 1)))
      require('fimd.commands').run(name, {
        lines = options.range and options.range > 0 and { options.line1, options.line2 } or nil,
        instruction = text ~= '' and text or nil,
      })
    end,
  }
end

---@type table<string, fimd.Subcommand>
M.commands = {
  enable = switch(true),
  disable = switch(false),
  toggle = switch('toggle'),
  status = {
    run = function()
      print(table.concat(M.status_lines(), '\n'))
    end,
  },
  log = {
    run = function()
      local path = log_path()
      if vim.fn.filereadable(path) == 0 then
        error('fimd: no log at ' .. path .. '; the client side is in ' .. vim.lsp.get_log_path(), 0)
      end
      vim.cmd('botright split ' .. vim.fn.fnameescape(path))
      vim.bo.readonly = true
      vim.cmd('normal! G')
    end,
  },
  model = {
    run = function(arguments)
      if not arguments[1] then
        local status = require('fimd').status()
        local loaded = status.model and status.model ~= ''
        print(loaded and ('%s on %s'):format(status.model, status.backend) or 'no model is loaded')
        return
      end
      local path = vim.fn.fnamemodify(vim.fs.normalize(arguments[1]), ':p')
      if vim.fn.filereadable(path) == 0 then
        error('fimd: cannot read ' .. path, 0)
      end
      require('fimd.client').change_settings({ model = { path = path } })
    end,
    complete = function(lead)
      return vim.tbl_filter(function(path)
        return path:find('%.gguf$') ~= nil or path:find('/$') ~= nil
      end, vim.fn.getcompletion(lead, 'file'))
    end,
  },
  restart = {
    run = function(_, bang)
      require('fimd.client').restart(bang)
    end,
  },
  explain = ask('explain'),
  review = ask('review'),
  refactor = ask('refactor'),
  fix = ask('fix'),
  document = ask('document'),
  cancel = {
    run = function()
      if require('fimd.commands').cancel() == 0 then
        error('fimd: nothing runs', 0)
      end
    end,
  },
  doctor = {
    run = function()
      run_fimd({ 'doctor' })
    end,
  },
}

---@param options table of nvim_create_user_command
function M.run(options)
  local line, rest = options.args, nil
  local command = M.commands[line:match('^%S+')]
  if not (command and command.text) then
    -- As `-bar` would: for all commands it would cut instructions at `|` and `"`.
    local own, after = line:match('^(.-)%s*|%s*(.*)$')
    line, rest = own or line, after
  end
  local words = vim.split(line, '%s+', { trimempty = true })
  local name = words[1]
  local arguments = vim.list_slice(words, 2)
  if not command then
    local names = vim.tbl_keys(M.commands)
    table.sort(names)
    local message = ('fimd: no command "%s" (known: %s)'):format(name, table.concat(names, ', '))
    vim.notify(message, vim.log.levels.ERROR)
    return
  end
  if not require('fimd').is_set_up then
    require('fimd').setup()
  end
  local ok, message = pcall(command.run, arguments, options.bang, options)
  if not ok then
    vim.notify(message, vim.log.levels.ERROR)
  elseif rest and rest ~= '' then
    vim.cmd(rest)
  end
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(vim.trim(line:gsub('^.-Fimd!?', '')), '%s+', { trimempty = true })
  local name = words[1]
  if not name or (#words == 1 and lead ~= '') then
    local names = vim.tbl_filter(function(candidate)
      return vim.startswith(candidate, lead)
    end, vim.tbl_keys(M.commands))
    table.sort(names)
    return names
  end
  local command = M.commands[name]
  return command and command.complete and command.complete(lead) or {}
end

return M
