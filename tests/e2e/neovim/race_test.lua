-- Things that happen at the same time: the buffer must hold what was typed and what was accepted.

local h = require('harness')

local all = { 'plugin', 'core', 'plugin_core' }

local code = [[
import os

def list_files(folder):
    names = []
    for name in os.listdir(folder):
        names.append(name)
    return names

]]

local function at_end(e)
  e:input('G$A')
  e:wait('insert mode', 'return vim.api.nvim_get_mode().mode == "i"')
  -- Indenting by itself would be neither typed nor accepted.
  e:lua('vim.bo.autoindent = false; vim.bo.indentexpr = ""; vim.bo.indentkeys = ""')
end

-- Waits until everything typed has arrived, and a ghost, if there is one, is right.
local function at_rest(e)
  e:settle()
  if e:ghost() then
    local what = ''
    e:wait('a ghost text that is what the daemon said', function()
      e:settle()
      local ghost = e:ghost()
      if not ghost then
        return true
      end
      local offer = h.offered(e)
      local said, shown = h.blanks(offer.text:sub(#offer.typed + 1)), h.blanks(ghost.text)
      what = ('said %q, shown %q'):format(said, shown)
      return vim.startswith(shown, said) or vim.startswith(said, shown)
    end)
  end
end

return {
  {
    name = 'typing faster than replies',
    with = all,
    files = { ['main.py'] = code },
    run = function(e)
      at_end(e)
      local typed = 'for name in list_files("/tmp"):\n    print(name, os.path.getsize(name))\n'
      e:type(typed)
      e:wait_text(code .. typed)
      for i = 1, 40 do
        e:type(('x%d = %d\n'):format(i, i))
      end
      e:wait('the last line', function()
        return e:lines()[#e:lines() - 1] == 'x40 = 40'
      end)
      at_rest(e)
      h.check_journal(e, code)
    end,
  },
  {
    name = 'accepting while replies are on their way',
    with = { 'plugin', 'plugin_core' },
    files = { ['main.py'] = code },
    run = function(e)
      at_end(e)
      local line = 'for name in list_files(folder):'
      for i = 1, #line do
        e:type(line:sub(i, i))
        -- At changing distances from the reply: at once, in the middle, after it.
        vim.wait((i * 13) % 60)
        if i % 2 == 0 then
          e:input('<M-w>')
        elseif i % 7 == 0 then
          e:input('<C-]><M-l>')
        elseif i % 5 == 0 then
          e:input('<M-l>')
        end
      end
      e:type('END')
      e:wait('the last word', function()
        return e:text():find('END$') ~= nil
      end)
      at_rest(e)
      h.check_journal(e, code)
    end,
  },
  {
    name = 'accept and type in one go',
    with = { 'plugin' },
    files = { ['main.py'] = code },
    run = function(e)
      at_end(e)
      e:type('for name in ')
      local ghost = h.ghost(e)
      -- The keys are queued before the editor has dealt with any of them.
      e:input('<Tab>XYZ')
      e:wait_text(code .. 'for name in ' .. ghost .. 'XYZ')
      h.check_journal(e, code)
    end,
  },
  {
    name = 'the core doubles nothing when accepting right after a key',
    with = { 'plugin_core' },
    files = { ['main.py'] = code },
    run = function(e)
      at_end(e)
      e:type('for name in ')
      local ghost = h.ghost(e)
      e:input(ghost:sub(1, 1):gsub('<', '<LT>') .. '<Tab>')
      e:wait_text(code .. 'for name in ' .. ghost)
    end,
  },
  {
    name = 'undo and redo storms',
    with = all,
    files = { ['main.py'] = code },
    run = function(e)
      at_end(e)
      e:type('for name in ')
      e:wait_ghost()
      e:input('<Tab>')
      e:wait('the accepted text', [[
        for _, request in ipairs(wire.requests) do
          if request.method == 'workspace/executeCommand' then
            return true
          end
        end]])
      e:type(' # one')
      e:input('<Esc>otwo<Esc>othree<Esc>')
      e:wait('all lines', function()
        return e:lines()[#e:lines()] == 'three'
      end)
      local final = e:text()
      h.check(vim.startswith(final, code .. 'for name in '), 'the text before')
      for _ = 1, 3 do
        e:input('20u')
        e:wait_text(code)
        e:input('A')
        e:wait('insert mode', 'return vim.api.nvim_get_mode().mode == "i"')
        e:input('<Esc>20<C-r>')
        e:wait_text(final)
        e:input('uuu<C-r>u<C-r><C-r>u20<C-r>')
        e:wait_text(final)
      end
      e:input('Gofor x in ')
      e:wait_ghost()
      at_rest(e)
      h.equal(e:text(), final .. '\nfor x in ', 'text at the end')
    end,
  },
  {
    name = 'switching files while replies are on their way',
    with = all,
    files = { ['main.py'] = code, ['a.py'] = code, ['b.py'] = code },
    run = function(e)
      e:edit('a.py')
      e:edit('b.py')
      local typed = { ['main.py'] = '', ['a.py'] = '', ['b.py'] = '' }
      for i = 1, 12 do
        for _, name in ipairs({ 'main.py', 'a.py', 'b.py' }) do
          e:input('<Esc>:buffer ' .. name .. '<CR>G$A')
          local text = ('v%d = '):format(i)
          typed[name] = typed[name] .. text
          e:type(text)
          vim.wait((i * 17) % 40)
        end
      end
      e:input('<Esc>')
      e:wait('normal mode', 'return vim.api.nvim_get_mode().mode == "n"')
      for name, text in pairs(typed) do
        e:lua('vim.cmd.buffer(...)', name)
        h.equal(e:text(), code .. text, name)
      end
      e:input('a')
      e:wait_ghost()
      at_rest(e)
    end,
  },
  {
    name = 'the daemon is killed and the typing goes on',
    with = { 'plugin', 'core' },
    files = { ['main.py'] = code },
    run = function(e)
      at_end(e)
      e:type('for name in ')
      h.ghost(e)
      local status = vim.system({ vim.env.FIMD_E2E_BIN, 'status' }, { text = true }):wait()
      local pid = tonumber(status.stdout:match('process (%d+)'))
      h.check(pid, 'no pid in: ' .. status.stdout)
      vim.uv.kill(pid, 'sigkill')
      local typed = 'list_files("x"):\n    print(name)\nfor other in '
      for i = 1, #typed do
        e:type(typed:sub(i, i))
      end
      e:wait_text(code .. 'for name in ' .. typed)
      e:lua('wire.requests, wire.partials = {}, {}')
      -- Another daemon is started and told everything; the next change brings ghost text again.
      e:wait('ghost text from the new daemon', function()
        if e:ghost() and h.last_offer(e) then
          return true
        end
        e:input(' <BS>')
        vim.wait(500, function()
          return h.last_offer(e) ~= nil
        end, 20)
      end, 30000)
      at_rest(e)
      h.equal(e:text(), code .. 'for name in ' .. typed, 'text')
    end,
  },
  {
    name = 'the client is killed and comes back',
    with = { 'plugin' },
    files = { ['main.py'] = code },
    before = [[
      -- Neovim does not tell the process id of a server.
      local system = vim.system
      vim.system = function(cmd, options, on_exit)
        local process = system(cmd, options, on_exit)
        if cmd[2] == 'lsp' then
          _G.lsp_pid = process.pid
        end
        return process
      end]],
    run = function(e)
      at_end(e)
      e:type('for name in ')
      h.ghost(e)
      local pid = e:lua('return lsp_pid')
      vim.uv.kill(pid, 'sigkill')
      e:type('list_files("x"):\n    ')
      e:wait_text(code .. 'for name in list_files("x"):\n    ')
      e:wait('another client', ('return lsp_pid ~= %d'):format(pid))
      e:wait_ready()
      e:type('print(')
      e:wait_text(code .. 'for name in list_files("x"):\n    print(')
      e:wait_ghost()
      h.check_journal(e, code)
    end,
  },
}
