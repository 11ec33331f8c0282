--- fimd: local code completion as ghost text. See `:help fimd`.

local config = require('fimd.config')

local M = {}

---@return table the module that shows suggestions: ghost.lua, or builtin.lua with the same verbs
local function shower()
  return require(config.current.ghost == 'builtin' and 'fimd.builtin' or 'fimd.ghost')
end

--- Starts fimd. All options have defaults; see `:help fimd-options`.
---@param options? table fimd.Config, as far as it differs from the defaults
function M.setup(options)
  config.set(options)
  local client = require('fimd.client')
  if client.enabled then
    client.disable()
  end
  require('fimd.keys').set()
  if config.current.enabled then
    client.enable()
  end
  M.is_set_up = true
end

--- Accepting works on the next turn of the input queue, before any key typed later: so it may be
--- called where text is locked (`<expr>` mappings), and is an undo step of its own.
---@param part 'all'|'word'|'line'
---@return boolean whether there was a suggestion
local function accept(part)
  if not shower().visible() then
    return false
  end
  local keys = ("<C-g>u<Cmd>lua require('fimd')._apply('%s')<CR><C-g>u"):format(part)
  vim.api.nvim_feedkeys(vim.keycode(keys), 'in', false)
  return true
end

---@private
function M._apply(part)
  shower().apply(part)
end

--- Accepts all of the suggestion. Like the two after it, returns whether there was one.
---@return boolean
function M.accept()
  return accept('all')
end

---@return boolean
function M.accept_word()
  return accept('word')
end

---@return boolean
function M.accept_line()
  return accept('line')
end

---@return boolean
function M.next()
  return shower().cycle(1)
end

---@return boolean
function M.prev()
  return shower().cycle(-1)
end

--- Hides the suggestion until the text changes.
---@return boolean whether one was shown
function M.dismiss()
  return shower().dismiss()
end

--- Asks for suggestions now, several if there are.
---@return boolean
function M.trigger()
  return shower().trigger()
end

--- Whether a suggestion is shown in the current buffer.
---@return boolean
function M.visible()
  return shower().visible()
end

---@private
function M.wants_indent()
  return shower().wants_indent()
end

--- Switches fimd on or off: everywhere, or in one buffer (0: the current one).
---@param on boolean
---@param buf? integer
function M.enable(on, buf)
  local client = require('fimd.client')
  if buf then
    buf = buf == 0 and vim.api.nvim_get_current_buf() or buf
    vim.b[buf].fimd_enabled = on
    if on then
      client.attach(buf)
    else
      client.detach(buf)
    end
  elseif on ~= client.enabled then
    if on then
      client.enable()
    else
      client.disable()
    end
  end
end

---@param buf? integer
---@return boolean
function M.is_enabled(buf)
  local client = require('fimd.client')
  if buf == 0 then
    buf = vim.api.nvim_get_current_buf()
  end
  return client.enabled and (not buf or config.suits(buf))
end

--- The daemon's last word about itself.
---@return fimd.Status
function M.status()
  return require('fimd.client').status
end

--- A few characters for a statusline: empty where fimd is off.
---@return string
function M.statusline()
  local client = require('fimd.client')
  if not client.enabled or not config.suits(vim.api.nvim_get_current_buf()) then
    return ''
  end
  local status = client.status
  if status.state == 'loading' and status.percent then
    return ('fimd %d%%%%'):format(status.percent)
  end
  local signs = { starting = ' …', loading = ' …', generating = ' ●', error = ' ✗' }
  return 'fimd' .. (signs[status.state] or '')
end

return M
