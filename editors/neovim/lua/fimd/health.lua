--- `:checkhealth fimd`.

local M = {}

local function check_neovim(health)
  health.start('fimd: Neovim')
  if vim.fn.has('nvim-0.10') == 0 then
    health.error('Neovim 0.10 or later is needed')
  elseif vim.lsp.inline_completion then
    health.ok('Neovim ' .. tostring(vim.version()) .. ' with inline completion of its own')
  else
    health.ok('Neovim ' .. tostring(vim.version()))
  end
  if not require('fimd').is_set_up then
    health.warn('fimd is not started', "add require('fimd').setup{} to your configuration")
  end
end

---@return string[]? cmd
local function check_program(health)
  health.start('fimd: the program')
  local config = require('fimd.config')
  local cmd = config.command()
  if not cmd then
    health.error(
      ("'%s' is not executable"):format(config.current.cmd[1]),
      { 'install fimd, so that it is on the PATH', "or set `cmd` in require('fimd').setup{}" }
    )
    return nil
  end
  local options = { text = true, env = config.current.cmd_env }
  local result = vim.system({ cmd[1], '--version' }, options):wait(5000)
  if result.code ~= 0 then
    health.error(cmd[1] .. ' --version failed: ' .. vim.trim(result.stderr))
    return nil
  end
  health.ok(('%s (%s)'):format(vim.trim(result.stdout), vim.fn.exepath(cmd[1])))
  return cmd
end

local function check_daemon(health)
  health.start('fimd: the daemon')
  local client = require('fimd.client')
  local status = client.status
  if not client.enabled then
    health.info('switched off; :Fimd enable')
  elseif status.state == 'error' then
    health.error(status.message or 'unknown error', 'see :Fimd doctor and :Fimd log')
  elseif not client.get() then
    health.info('no buffer uses fimd yet')
  elseif status.state == 'loading' or status.state == 'starting' then
    health.info('loading the model: ' .. (status.message or ''))
  else
    health.ok(('%s on %s'):format(status.model or 'a model', status.backend or 'unknown'))
  end
end

local function check_keys(health)
  health.start('fimd: keys')
  local keys = require('fimd.keys')
  local names = vim.tbl_keys(keys.mapped)
  table.sort(names)
  for _, key in ipairs(names) do
    local mapping = vim.fn.maparg(key, 'i', false, true)
    if (mapping.desc or ''):find('^fimd') then
      health.ok(('%s: %s'):format(key, keys.mapped[key]))
    else
      health.info(('%s: %s, but something mapped it afterwards'):format(key, keys.mapped[key]))
    end
  end
  for key, action in pairs(keys.taken) do
    health.info(('%s was mapped already and is left alone (%s)'):format(key, action))
  end
  local cmp = package.loaded['cmp']
  local ok, ghost = pcall(function()
    return cmp and cmp.get_config().experimental.ghost_text
  end)
  if ok and ghost then
    health.warn('nvim-cmp draws ghost text too', 'set experimental.ghost_text = false')
  end
end

function M.check()
  local health = vim.health
  check_neovim(health)
  check_program(health)
  check_daemon(health)
  check_keys(health)
end

return M
